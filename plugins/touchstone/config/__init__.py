"""What people write down about machines and subjects: inventory, subject files, TOML, logs."""
