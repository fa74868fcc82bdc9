"""Judging without pytest: plan, session, phases, oracles, records, verdicts."""
