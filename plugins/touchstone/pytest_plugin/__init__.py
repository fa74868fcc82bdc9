"""What is pytest's: hooks, options, collection, marks, fixtures, scheduling with xdist."""
