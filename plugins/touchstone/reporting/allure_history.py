"""The history that Allure reads, made of the nights that Touchstone keeps: its own is a megabyte a night."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import md5
from typing import Any

from touchstone.journal.nights import FAILED, Night
from touchstone.reporting.allure import STATUS, case_id
from touchstone.reporting.overview import short


def history_points(nights: Iterable[Night]) -> Iterator[dict[str, Any]]:
    """A line of Allure's history for each night."""
    for night in nights:
        at = round(night.at * 1000)
        results = {}
        causes = night.causes_of()
        for key, verdict in night.verdicts().items():
            if verdict is None:
                continue
            identity = history_id(key.check, key.target, key.subject)
            result: dict[str, Any] = {
                "id": _hash(f"{at}{identity}"),
                "name": key.check,
                "fullName": key.check,
                "environment": key.target,
                "status": STATUS[verdict],
                "start": at,
                "stop": at,
                "duration": 0,
                "url": "",
                "historyId": identity,
                "reportLinks": [],
            }
            if verdict in FAILED:
                cause = causes.get(key) or "no cause known"
                tested = f"{key.subject} {short(night.commit(key.subject))}".strip()
                result["error"] = {"message": f"{verdict.value}: {cause} ({tested})"}
            results[identity] = result
        yield {
            "uuid": _hash(str(at)),
            "name": "Touchstone",
            "timestamp": at,
            "knownTestCaseIds": sorted({identity.partition(".")[0] for identity in results}),
            "testResults": results,
            "metrics": {},
            "url": "",
        }


def history_id(check: str, target: str, subject: str) -> str:
    """By what Allure 3 tells histories apart: the test case, and the parameters that are not excluded."""
    return f"{_hash(case_id(check))}.{_hash(f'subject:{subject},target:{target}')}"


def _hash(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()
