"""What a target turned out to be: the line of the summary, and the facts that a journal keeps of it."""

from __future__ import annotations

from collections.abc import Mapping

from touchstone.config.subjects import Subject
from touchstone.engine.as_found import underneath
from touchstone.engine.cpu import MeasuredCpu
from touchstone.machine.driver import TargetInfo
from touchstone.machine.settings import TargetSettings


def line_about(subject: Subject, info: TargetInfo, cpu: MeasuredCpu, status: Mapping[str, str]) -> str:
    """One line: what the target is, and how much of it the subject has. ``status``: what the subject says."""
    cpus = f"{info.cpus} CPU{'s' if info.cpus != 1 else ''}"
    line = f"{cpu.model} ({info.vendor}), {cpus}, {cpu.virtualization}, os {info.os}"
    if subject.absent:
        return f"{line}; no hypervisor"
    if not status:
        return f"{line}; {subject.title} was not loaded"
    if status.get("by") == "firmware":
        return f"{line}; {subject.title}, loaded by the firmware"
    version = status.get("version", "of unknown version")
    taken = f"{status.get('cpus', '?')} of {info.cpus} CPUs"
    return f"{line}; {subject.title} {version} on {taken}"


def line_about_here(info: TargetInfo, cpu: MeasuredCpu, of_driver: Mapping[str, str]) -> str:
    """The same of a machine that is judged as it is found: what it runs under is what CPUID says."""
    cpus = f"{info.cpus} CPU{'s' if info.cpus != 1 else ''}"
    machine = f"{of_driver['machine']}, " if "machine" in of_driver else ""
    under = underneath(cpu) or "nothing that CPUID shows"
    return (
        f"{machine}{cpu.model} ({info.vendor}), {cpus}, {cpu.virtualization},"
        f" Linux {of_driver.get('kernel', '')}; under {under}"
    )


def facts_about(
    settings: TargetSettings,
    info: TargetInfo,
    cpu: MeasuredCpu,
    status: Mapping[str, str],
    of_driver: Mapping[str, str],
) -> dict[str, str]:
    """What verdicts may depend on: ``TargetLine.facts`` of ``touchstone.journal.lines`` has the names."""
    found = {
        "driver": settings.driver,
        "cpu-model": settings.cpu_model,
        "vendor": info.vendor,
        "cpus": str(info.cpus),
        "os": info.os,
        "cpu": cpu.model,
        "stepping": cpu.stepping,
        "microcode": cpu.microcode,
        "virtualization": cpu.virtualization,
        "subject": status.get("version", ""),
        **of_driver,
    }
    return {name: value for name, value in found.items() if value}
