"""The machine that we run on ourselves, whatever it runs under."""
