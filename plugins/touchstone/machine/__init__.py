"""The target interface: what a probe is, what a driver does, how the agent is spoken to."""
