from __future__ import annotations

from collections.abc import Callable

Check = Callable[..., str]


def test_conformant_check_passes(project, one_check: Check) -> None:
    project.suite(one_check("upper", "cpuid", "{eax: 0xd}"))
    result = project.run("-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["suite.yaml::exits.upper?fake-amd? PASSED*"])
