from tests.drivers.ssh.conftest import box, lab, possible

__all__ = ["box", "lab", "possible"]
