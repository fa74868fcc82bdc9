"""What pytest must know of this checkout before it collects anything in it."""

# What bootstrap and npm make: copies of suites and tests may be in there.
collect_ignore = ["build", "report", ".venv"]
