"""``touchstone new``: what a hypervisor's project needs to be judged."""
