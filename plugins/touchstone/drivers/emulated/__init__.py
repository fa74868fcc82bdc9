"""What all emulated machines share."""
