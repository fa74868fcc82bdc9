"""The journal of a run: what is in it, how it is written as things happen, how it is read."""
