"""What tests share. Nothing in here is collected."""
