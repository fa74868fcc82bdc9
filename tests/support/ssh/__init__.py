"""An sshd of our own, boxes behind it, and what goes wrong between them and us."""
