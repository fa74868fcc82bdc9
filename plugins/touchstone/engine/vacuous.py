"""Checks that say nothing: their body ends in an exception that nobody asked for, on the bare machine too."""

from __future__ import annotations

from collections.abc import Sequence

from touchstone.machine.probe import ProbeResult
from touchstone.suite import show
from touchstone.suite.code import Code
from touchstone.suite.model import Case


def vacuous(case: Case, code: Code, results: Sequence[ProbeResult]) -> str | None:
    """Why a case whose demands are met says nothing; None if it says something.

    A body may fault before it comes to what its check is about, and then it does so with a hypervisor as
    without: a check that demands what is native must name the exception, or say ``exception: native``.
    """
    expect = case.expect
    if not expect.native or expect.native_end or expect.ends:
        return None
    for result in results:
        if result.vector is not None:
            where = show.address(result.rip, result, code) or f"{result.rip:#x}"
            return (
                f"the body ends in {show.end(result)} at {where} on CPU {result.cpu}, on the bare machine "
                'too; if that is what the check is about, name the exception, or say "exception: native"'
            )
    return None
