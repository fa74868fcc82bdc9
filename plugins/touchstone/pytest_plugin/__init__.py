"""Everything that needs pytest: hooks, options, collection, marks, fixtures, scheduling with xdist."""
