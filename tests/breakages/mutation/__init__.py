"""Random faults of Veneer: mutants of its C and assembly, which nobody has chosen.

``python -m tests.breakages.mutation``; docs/seeding-faults.md says more.
"""
