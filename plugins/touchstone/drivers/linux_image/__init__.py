"""Images of Debian for emulated machines, made of its packages."""
