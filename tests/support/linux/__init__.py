"""A Linux with one program of ours, in QEMU or Bochs."""
