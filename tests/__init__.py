"""The project's own tests, and in ``support`` what they share: ``from tests.support.x import y``."""

import pytest

# A failed assertion there is to say what was compared, as one in a test does.
pytest.register_assert_rewrite("tests.support")
