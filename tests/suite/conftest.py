from __future__ import annotations

from hypothesis import settings

# Hypothesis: the same examples in every run, no deadline, and no database in the checkout.
settings.register_profile("touchstone", derandomize=True, deadline=None, database=None)
settings.load_profile("touchstone")
