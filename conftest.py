"""What every test of this checkout may use."""

# The fixtures target, subject and probe of Python checks; pytester for the tests of the plugin.
pytest_plugins = ["touchstone.pytest_plugin.fixtures", "pytester"]
