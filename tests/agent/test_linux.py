"""The agent on a running Linux: probes in both rings, and a Linux that does not notice them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Literal

import paramiko
import pytest

from tests.support import boxes
from touchstone.drivers.qemu.linux import QemuLinuxMachine
from touchstone.machine.driver import AgentRefused
from touchstone.machine.probe import Operand, ProbeRequest

Cpl = Literal[0, 3]
COMPLAINTS = "warn|bug:|oops|lockup|stall|general protection|unable to handle|bad page|call trace"
# mov ecx, 20000000; dec ecx; jnz $-2
LONG = bytes.fromhex("b9 00 2d 31 01 ff c9 75 fc")


def complaints(box: paramiko.SSHClient) -> str:
    return boxes.run(box, f"dmesg | grep -i -E '{COMPLAINTS}'", check=False)


def test_it_says_what_it_is(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        assert agent.info is not None
        assert (agent.info.os, agent.info.cpus, agent.info.vendor) == ("linux", 4, "amd")
        assert agent.info.uslot + 64 * agent.info.stride <= 1 << 32


@pytest.mark.parametrize("cpl", [0, 3])
def test_exceptions_come_back_as_the_cpu_raised_them(agent_box: paramiko.SSHClient, cpl: Cpl) -> None:
    with boxes.agent(agent_box) as agent:

        def ends(code: str, **more: object) -> tuple[int | None, int | None, int]:
            (result,) = agent.run(ProbeRequest(code=bytes.fromhex(code), cpl=cpl, **more))  # type: ignore[arg-type]
            return result.vector, result.error_code, result.rip - result.start

        assert ends("90 90") == (None, None, 2)
        assert ends("90 0f 0b") == (6, None, 1)
        # The error code of a gate that may not be used is the vector times 8, and 2; QEMU 7.2 says times 16.
        assert ends("cd 30") in ([(48, None, 2)] if cpl == 0 else [(13, 48 * n + 2, 0) for n in (8, 16)])
        assert ends("f4" if cpl else "0f 22 c8") == ((13, 0, 0) if cpl else (6, None, 0))
        # A load from an address that is not mapped, and a store to the code, which may not be written.
        assert ends("48 8b 00", registers={"rax": Operand("number", 0x1000)}) == (14, 4 if cpl else 0, 0)
        assert ends("48 89 00", registers={"rax": Operand("start", 0)}) == (14, 7 if cpl else 3, 0)
        # SYSCALL does not reach Linux.
        (result,) = agent.run(ProbeRequest(code=b"\x0f\x05", cpl=cpl))
        assert (result.vector, result.registers["rcx"]) == (6, result.start + 2)


def test_every_cpu_has_its_slot_and_all_start_together(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        in_turn = agent.run(
            ProbeRequest(code=b"\x0f\xa2", cpus=(0, 1, 2, 3), registers={"rax": Operand("number", 1)})
        )
        ids = [result.registers["rbx"] >> 24 for result in in_turn]
        assert sorted(ids) == [0, 1, 2, 3]
        assert len({result.slot for result in in_turn}) == 4
        # lock inc dword [rdi]; pause; cmp dword [rdi], 4; jb $-5: none of them ends before all have begun.
        meeting = bytes.fromhex("f0 ff 07 f3 90 83 3f 04 72 f9")
        counter = {"rdi": Operand("number", in_turn[0].slot + 0x3000)}
        together = agent.run(
            ProbeRequest(code=meeting, cpus=(0, 1, 2, 3), together=True, registers=counter, timeout=30.0)
        )
        assert [result.vector for result in together] == [None] * 4


def test_what_a_probe_changes_is_put_back(agent_box: paramiko.SSHClient) -> None:
    """Control registers, debug registers, segment registers and bases, the FPU: Linux goes on as before."""
    changes: list[tuple[str, Cpl]] = [
        ("0f ef c0 0f ef c9 db e3", 3),  # pxor mm, pxor mm, fninit
        ("31 c0 f3 0f ae d8", 0),  # wrgsbase eax
        ("31 c0 f3 0f ae d8", 3),
        ("31 c0 8e d8 8e c0 8e e0 8e e8", 0),  # mov ds/es/fs/gs, ax
        ("0f 01 f8", 0),  # swapgs
        ("31 c0 0f 23 c0 0f 23 c8 b8 02 04 00 00 0f 23 f8", 0),  # mov dr0/dr1/dr7
        ("0f 20 e0 48 83 f0 04 0f 22 e0", 0),  # cr4.tsd
        ("0f 20 d8 0f 22 d8", 0),  # cr3
        ("fa fb 90 90 90", 0),  # sti
        ("9c 58 48 0d 00 00 04 00 50 9d", 3),  # pushf; or rax, AC; popf
    ]
    checked = (
        "for i in 1 2 3 4 5 6 7 8; do head -c 200000 /dev/zero | sha256sum; done | sort | uniq -c | wc -l"
    )
    with boxes.agent(agent_box) as agent:
        _, out, _ = agent_box.exec_command(checked, timeout=boxes.PATIENCE)
        for code, cpl in changes * 3:
            agent.run(ProbeRequest(code=bytes.fromhex(code), cpl=cpl, cpus=(0, 1, 2, 3)))
        assert out.read().strip() == b"1"
    assert complaints(agent_box) == ""


def test_interrupts_that_a_probe_lets_in_reach_linux(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        before = int(boxes.run(agent_box, "grep LOC: /proc/interrupts").split()[1])
        for _ in range(5):
            (result,) = agent.run(ProbeRequest(code=b"\xfb" + LONG, timeout=30.0))
            assert result.vector is None
        after = int(boxes.run(agent_box, "grep LOC: /proc/interrupts").split()[1])
    assert after > before
    assert complaints(agent_box) == ""


def test_an_nmi_during_a_probe_is_counted_and_reaches_linux(
    agent_box: paramiko.SSHClient, machine: QemuLinuxMachine
) -> None:
    with boxes.agent(agent_box) as agent:
        before = agent.nmi_counts()[0]
        done = threading.Event()

        # When the probe begins, nobody tells: NMIs come before, during and after it.
        def inject() -> None:
            while not done.wait(0.05):
                machine.inject_nmi()

        thread = threading.Thread(target=inject)
        thread.start()
        try:
            for _ in range(10):
                (result,) = agent.run(ProbeRequest(code=LONG * 10, timeout=60.0))
                assert result.vector is None
                if result.nmis:
                    break
        finally:
            done.set()
            thread.join()
        assert result.nmis
        assert agent.nmi_counts()[0] - before >= result.nmis


def test_one_program_at_a_time(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box):
        said = boxes.run(agent_box, "/tmp/touchstone-agent </dev/null 2>&1", check=False)
        assert said == "touchstone-agent: /dev/touchstone-agent: Device or resource busy\n"
        assert "in use" in boxes.run(agent_box, "rmmod touchstone_agent 2>&1", check=False)
    boxes.run(agent_box, "while lsmod | grep -q 'touchstone_agent.* 1$'; do :; done; rmmod touchstone_agent")
    assert complaints(agent_box) == ""


def test_a_cpu_that_is_gone_is_refused(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        boxes.run(agent_box, "echo 0 >/sys/devices/system/cpu/cpu2/online")
        with pytest.raises(AgentRefused, match="No such device or address"):
            agent.run(ProbeRequest(code=b"\x90", cpus=(2,)))
        with pytest.raises(AgentRefused, match="No such device or address"):
            agent.run(ProbeRequest(code=b"\x90", cpus=(1, 2), together=True))
        assert agent.run(ProbeRequest(code=b"\x90", cpus=(1, 3), together=True))[1].vector is None


@pytest.mark.parametrize(
    ("register", "bits"), [("efer", (0, 1 << 11)), ("cr4", (1 << 23, 0))], ids=["nxe", "cet"]
)
def test_what_would_kill_linux_is_refused(
    agent_box: paramiko.SSHClient, register: str, bits: tuple[int, int]
) -> None:
    with boxes.agent(agent_box) as agent:
        with pytest.raises(AgentRefused, match=f"{register}: a bit that"):
            agent.run(ProbeRequest(code=b"\x90", bits={register: bits}))
        assert agent.run(ProbeRequest(code=b"\x90"))[0].vector is None
    assert complaints(agent_box) == ""


def test_a_subject_is_none_of_its_business(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent, pytest.raises(AgentRefused, match="ENODEV"):
        agent.load()


def test_what_no_probe_can_be_is_refused_by_the_module(agent_box: paramiko.SSHClient, tmp_path: Path) -> None:
    """With a program of our own: the agent's does not let such requests through."""
    import subprocess

    from touchstone.shipped import source_root

    program = tmp_path / "abi-check"
    source = Path(__file__).with_name("abi_check.c")
    include = source_root() / "targets" / "agent" / "linux"
    subprocess.run(["gcc", "-static", "-Wall", "-Werror", f"-I{include}", "-o", program, source], check=True)
    boxes.put(agent_box, program)
    assert boxes.run(agent_box, "/tmp/abi-check") == "all refused\n"
    assert complaints(agent_box) == ""


def test_a_missing_module_is_told(box: paramiko.SSHClient, built: Path) -> None:
    boxes.put(box, built / "touchstone-agent")
    said = boxes.run(box, "/tmp/touchstone-agent 2>&1", check=False)
    assert said == "touchstone-agent: /dev/touchstone-agent: No such file or directory\n"


def workers(box: paramiko.SSHClient) -> int:
    return int(boxes.run(box, "ps -A -o args= | grep -c '^/tmp/touchstone-agent'", check=False))


def test_work_goes_round_on_every_cpu_and_ends_with_the_agent(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        assert agent.request("work", {"do": "start", "kinds": "processes,fpu"}) == {"workers": "8"}
        with pytest.raises(AgentRefused, match="EBUSY: there is work already"):
            agent.request("work", {"do": "start", "kinds": "fpu"})
        report = agent.request("work", {"do": "wait", "rounds": "2"}, limit=60.0)
        assert sorted(report) == ["fpu", "processes"]
        assert all(int(value.split(":")[0]) >= 2 and value.endswith(":0") for value in report.values())
        assert workers(agent_box) > 8
        assert set(agent.request("work", {"do": "stop"}, limit=30.0)) == {"fpu", "processes"}
        assert workers(agent_box) == 1
        with pytest.raises(AgentRefused, match="ESRCH"):
            agent.request("work", {"do": "query"})
        agent.request("work", {"do": "start", "kinds": "all"}, timeout=30.0)
        boxes.run(agent_box, "pkill -9 -o -f ^/tmp/touchstone-agent")
        boxes.run(agent_box, "while pgrep -f ^/tmp/touchstone-agent; do :; done")
    assert complaints(agent_box) == ""


def test_what_a_machine_cannot_do_is_refused_with_the_reason(agent_box: paramiko.SSHClient) -> None:
    with boxes.agent(agent_box) as agent:
        with pytest.raises(AgentRefused, match="EOPNOTSUPP: perf: no hardware counter of cycles"):
            agent.request("work", {"do": "start", "kinds": "fpu,perf"})
        with pytest.raises(AgentRefused, match=r"EINVAL: kinds: all, processes, .*; not 'gpu'"):
            agent.request("work", {"do": "start", "kinds": "gpu"})


def test_kvm_is_used_and_left_as_it_was(agent_box: paramiko.SSHClient) -> None:
    modules = "lsmod | cut -d ' ' -f 1 | sort"
    before = boxes.run(agent_box, modules)
    with boxes.agent(agent_box) as agent:
        tried = agent.request("kvm", {}, timeout=30.0)
        assert agent.request("kvm", {}, timeout=30.0) == tried
    assert tried == {"insert": "ok", "open": "ok", "vm": "ok", "run": "ok", "cpus": "4"}
    assert boxes.run(agent_box, modules) == before
    assert boxes.run(agent_box, "ls /dev | grep -c touchstone-kvm", check=False).strip() == "0"


def test_msrs_are_set_measured_and_restored(agent_box: paramiko.SSHClient) -> None:
    cstar = 0xC0000083
    with boxes.agent(agent_box) as agent:

        def read() -> int:
            (result,) = agent.run(ProbeRequest(code=b"\x0f\x32", registers={"rcx": Operand(offset=cstar)}))
            return result.registers["rdx"] << 32 | result.registers["rax"]

        before = read()
        for cpl in (0, 3):
            results = agent.run(
                ProbeRequest(
                    code=b"\x90", cpl=cpl, cpus=(0, 1, 2, 3), msrs={cstar: Operand("start", 0)}, keep=(cstar,)
                )
            )
            assert [result.msrs for result in results] == [{cstar: result.start} for result in results]
        (bits,) = agent.run(ProbeRequest(code=b"\x90", msrs={cstar: (2, 0)}))
        assert bits.msrs == {cstar: before | 2}
        assert read() == before
    assert not complaints(agent_box)


def test_a_probe_handles_its_own_exceptions(agent_box: paramiko.SSHClient) -> None:
    # ud2; jmp end; handler: add qword ptr [rsp], 2; inc r15d; mov r8d, cs; iretq; end:
    code = bytes.fromhex("0f0b eb0d 4883042402 41ffc7 418cc8 48cf")
    with boxes.agent(agent_box) as agent:
        for cpl in (0, 3):
            for result in agent.run(
                ProbeRequest(code=code, cpl=cpl, cpus=(0, 1, 2, 3), together=True, handlers={6: 4})
            ):
                assert (result.vector, result.registers["r15"]) == (None, 1)
                assert result.registers["rsp"] == result.given["rsp"]
            (after,) = agent.run(ProbeRequest(code=b"\x0f\x0b", cpl=cpl))
            assert after.vector == 6
        for vector in (2, 0x20, 0xEC):
            with pytest.raises(AgentRefused, match=f"handle={vector:x}: the OS needs"):
                agent.run(ProbeRequest(code=code, handlers={vector: 4}))
    assert not complaints(agent_box)
