"""For the tests of this directory."""

import pytest

# Its assertions are to say what was compared.
pytest.register_assert_rewrite("agent_session")
