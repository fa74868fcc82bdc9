"""``--target=here --ring0`` as root on a machine that is for it: a Debian in QEMU, with this host's files.

Its root directory is this host's (9p, read-only), with a directory in memory over it. So it has this checkout
and its Python. The module is in the build folder before: to build it there takes an emulated CPU minutes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.debian import unpacked
from touchstone.drivers.linux_image.cpio import RootFileSystem
from touchstone.drivers.linux_image.image import LinuxImage, build_image, kernel_headers
from touchstone.drivers.ssh.build import ModuleCache, build_here
from touchstone.drivers.ssh.deployable import the_agent
from touchstone.shipped import build_directory

MODULES = ("netfs", "fscache", "9pnet", "9pnet_virtio", "9p", "overlay")
"""In the order in which they need each other."""
TIMEOUT = 1100.0
"""Seconds that a run may take there, on a busy host."""
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
for bus in pci virtio; do
	cat /sys/bus/$bus/devices/*/modalias 2>/dev/null | busybox xargs modprobe -a -q
done
for module in @MODULES@; do
	[ ! -e /9p/$module.ko ] || insmod /9p/$module.ko
done
mkdir -p /host /over
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 host /host
mount -t tmpfs tmpfs /over
mkdir -p /over/upper /over/work /over/root
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /over/root
cd /over/root
mkdir -p usr/lib/modules/@RELEASE@ usr/src
ln -s @HEADERS@ usr/lib/modules/@RELEASE@/build
ln -sf @HEADERS@ @HEADERS@/../linux-headers-*-common usr/src/
ln -sf @HEADERS@/../../lib/linux-kbuild-* usr/lib/
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
cp /usr/bin/kmod usr/bin/
for name in insmod rmmod; do
	ln -sf ../bin/kmod usr/sbin/$name
done
ip link set lo up
{
	chroot . /bin/sh -c 'cd @ROOT@ && @COMMAND@' </dev/null
	echo "status $?"
	echo "left: $(ls -d /sys/module/touchstone_agent 2>&1)"
} >/dev/ttyS1 2>&1
sync
echo o >/proc/sysrq-trigger
sleep 60
"""
"""All paths of this host are absolute."""


SUITE = """
suite: What a program cannot ask
area: exits
cite: {doc: intel-sdm, title: Some section, says: Some sentence.}
checks:
  - id: exits.msr
    title: EFER.LMA is set on every CPU
    each: {on: every-cpu}
    given: {rcx: 0xc0000080}
    run: rdmsr
    expect: {"eax[10]": 1}
  - {id: exits.cpl0-ud, title: UD2 raises at CPL 0, run: ud2, expect: {exception: "#UD", rip: start}}
  - {id: exits.cpl3-ud, title: And at CPL 3, each: {cpl: [3]}, run: ud2, expect: {exception: "#UD"}}
  - {id: exits.wrong, title: CR0.PG is clear, run: "mov rax, cr0", expect: {"eax[31]": 0}}
  - id: exits.star
    title: STAR has a value of its own
    given: {rcx: 0xc0000081, msrs: {ia32-star: 0x0023_0008_1234_5678}}
    run: rdmsr
    expect: {eax: 0x1234_5678, edx: 0x0023_0008}
  - id: exits.kept
    title: STAR takes what is written to it
    given: {rcx: 0xc0000081, rdx: 0x1234, rax: 0x5678, keep: [ia32-star]}
    run: |
      wrmsr
      xor eax, eax
      rdmsr
    expect: {eax: 0x5678, edx: 0x1234}
  - {id: exits.native, title: As without a hypervisor, run: cpuid, expect: native}
"""


def uname_version(kernel: Path) -> str:
    """What ``uname -v`` says under a kernel (Documentation/arch/x86/boot.rst: kernel_version)."""
    head = kernel.read_bytes()[: 1 << 16]
    at = int.from_bytes(head[0x20E:0x210], "little") + 0x200
    return head[head.index(b"#", at) : head.index(b"\0", at)].decode()


def build_module(image: LinuxImage) -> None:
    """The agent's, where a run on that machine looks for it."""
    headers, agent = kernel_headers(image, print), the_agent()

    def make(into: Path) -> None:
        build_here(agent, image.release, headers, into, print)

    cache = ModuleCache(build_directory() / "linux")
    cache.provide(agent, image.release, uname_version(image.kernel), make, print)


def initrd(path: Path, image: LinuxImage, command: str) -> Path:
    """The image's file system, with our own init in it that runs a command in this host's."""
    kernel = f"linux-image-{image.release}"
    modules = unpacked(kernel, [kernel], image.name, keep=(kernel,))
    more = RootFileSystem()
    for name in MODULES:
        for found in modules.rglob(f"{name}.ko"):
            more.file(f"9p/{name}.ko", found.read_bytes())
    values = {
        "MODULES": " ".join(MODULES),
        "RELEASE": image.release,
        "HEADERS": str(kernel_headers(image, print)),
        "ROOT": str(ROOT),
        "COMMAND": command,
    }
    text = INIT
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    more.file("here-init", text.encode(), 0o755)
    with path.open("wb") as target:
        whole = image.initrd.read_bytes()
        target.write(whole + bytes(-len(whole) % 512))
        more.write(target)
    return path


def run_there(tmp_path: Path, command: str) -> str:
    """What a command prints as root on that machine."""
    image = build_image("debian-12", print)
    build_module(image)
    console, printed = tmp_path / "console", tmp_path / "printed"
    qemu = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    qemu += ["-machine", "q35", "-accel", "tcg,thread=single", "-smp", "2", "-m", "2048"]
    qemu += ["-cpu", "EPYC,+svm,+npt,-hypervisor,tcg-cpuid=off", "-kernel", str(image.kernel)]
    qemu += ["-initrd", str(initrd(tmp_path / "initrd", image, command))]
    words = "console=ttyS0 rdinit=/here-init tsc=reliable panic=-1 quiet cryptomgr.notests"
    qemu += ["-append", f"{words} watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=240"]
    qemu += ["-serial", f"file:{console}", "-serial", f"file:{printed}"]
    qemu += ["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"]
    qemu += ["-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
    done = subprocess.run(qemu, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    text = printed.read_text(errors="replace") if printed.is_file() else ""
    assert done.returncode == 0, done.stderr
    assert "left: " in text, console.read_text() + text
    return text


# To start Python and to collect takes an emulated CPU minutes.
@pytest.mark.nightly
def test_probes_run_at_cpl0_and_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text(SUITE)
    command = (
        f"{sys.executable} -m pytest -p no:cacheprovider -c /dev/null --color=no -v -rs {tmp_path}/suite.yaml"
    )
    text = run_there(tmp_path, f"{command} --target=here --ring0")
    words = {"msr": "PASSED", "cpl0-ud": "PASSED", "cpl3-ud": "PASSED", "wrong": "FAILED", "star": "PASSED"}
    for name, word in {**words, "kept": "PASSED"}.items():
        assert f"exits.{name}[here] {word}" in text, text
    assert "exits.native[here] SKIPPED" in text, text
    assert "compares with the machine without a hypervisor" in text, text
    assert "under nothing that CPUID shows" in text, text
    assert "status 1" in text, text
    assert "left: ls: cannot access" in text, text
