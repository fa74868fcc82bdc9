import pytest


@pytest.fixture(autouse=True)
def every_test_cleans_up(nothing_left_behind: None) -> None:
    """No machine of a test outlives it."""
