"""The names of all controls that are tested."""

from __future__ import annotations

from touchstone.machine.intercepts import svm, vmx

NAMES = tuple(sorted({one.name for one in (*svm.ROWS, *vmx.ROWS)}))
