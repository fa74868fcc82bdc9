from tests.support.ssh.fixtures import box, lab, possible

__all__ = ["box", "lab", "possible"]
