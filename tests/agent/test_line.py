"""The agent's lines and what it makes of them, in user space under the sanitizers."""

import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
AGENT = HERE.parents[1] / "targets" / "agent"
READY = "!1 ready os=test cpus=5"
HELLO = "@1 - 1 hello nonce=0badcafe #-\n"
GREETING = (
    "=1 0badcafe 1 ok agent=1.0 os=test cpus=5 vendor=VENDOR "
    "slot=100000 uslot=200000 stride=8000 subject=test-subject"
)

Talk = Callable[[str | bytes], list[str]]


def build(program: Path, *sources: Path) -> Path:
    command = ["gcc", "-std=gnu11", "-g", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{AGENT}"]
    command += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", str(program)]
    command += map(str, sources)
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return program


def crc(text: bytes) -> int:
    value = 0xFFFF
    for byte in text:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1 ^ 0x1021 if value & 0x8000 else value << 1) & 0xFFFF
    return value


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Talk:
    """What the agent says to these bytes, checked and without its checksums."""
    names = ("agent.c", "error.c", "run.c", "outcome.c", "values.c", "place_keys.c", "line.c")
    sources = [HERE / "conversation.c", *(AGENT / name for name in names)]
    program = build(tmp_path_factory.mktemp("agent") / "conversation", *sources)

    def say(text: str | bytes) -> list[str]:
        data = text if isinstance(text, bytes) else text.encode()
        ran = subprocess.run([str(program)], input=data, capture_output=True, check=False, timeout=600)
        assert ran.returncode == 0, ran.stderr.decode()
        assert ran.stdout.endswith(b"\n")
        said = []
        for line in ran.stdout.splitlines():
            body, separator, checksum = line.rpartition(b" #")
            assert separator, line
            assert checksum == b"%04x" % crc(body), line
            assert re.fullmatch(rb"[\x20-\x7e]*", body), line
            said.append(re.sub("vendor=(intel|amd|other)", "vendor=VENDOR", body.decode()))
        assert said[0] == READY
        return said[1:]

    return say


def test_lines_in_c(tmp_path: Path) -> None:
    program = build(tmp_path / "line_test", HERE / "line_test.c", AGENT / "line.c")
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=600)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_hello(talk: Talk) -> None:
    assert talk(HELLO) == [GREETING]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ("@1 0badcafe 1 counts on=1 #-", "=1 0badcafe 1 err code=nonce text=no hello since the boot"),
        ("@1 12345678 1 hello nonce=0badcafe #-", "=1 12345678 1 err code=nonce text=hello is sent with"),
        ("@1 - 1 hello #-", "=1 - 1 err code=argument text=nonce: "),
        ("@1 - 1 hello nonce=0BADCAFE #-", "=1 - 1 err code=argument text=nonce: "),
        ("@1 - 1 hello nonce=0badcafe0 #-", "=1 - 1 err code=argument text=nonce: "),
        ("@1 - 1 hello nonce=0badcafe x=1 #-", "=1 - 1 err code=argument text=unknown key x"),
        ("@1 - 1 hello nonce=0badcafe nonce=0badcafe #-", "=1 - 1 err code=argument text=nonce: given twice"),
        ("@2 - 1 hello nonce=0badcafe #-", "=1 - 0 err code=version text="),
        ("@1 - 1 hello nonce=0badcafe #0000", "=1 - 0 err code=checksum text="),
        ("@1 - 1 hello nonce=0badcafe", "=1 - 0 err code=syntax text=no checksum"),
        ("@1 - 1 hello\0nonce=0badcafe #-", "=1 - 0 err code=syntax text=a byte that is not printable"),
        ("@" + 4096 * "x", "=1 - 0 err code=too-long text="),
    ],
)  # fmt: skip
def test_refused_without_harm(talk: Talk, sent: str, answer: str) -> None:
    said = talk(sent + "\n" + HELLO)
    assert said[0].startswith(answer)
    assert said[1:] == [GREETING]


@pytest.mark.parametrize(
    ("request_", "answers"),
    [
        ("7 run code=90", ["7 ok cpu=0 of=1 end=done rip=1 rflags=2"]),
        ("7 run code=0fa2 at=10 rflags=246d7", ["7 err code=state text=rflags: VM or a reserved bit"]),
        ("7 run code=0fa2 at=10 rflags=3c7dd7", ["7 ok cpu=0 of=1 end=exc vec=06 rip=12 rflags=3c7dd7"]),
        (
            "7 run code=90 on=12 once=1 r8=0c000000000000000 r9=c10 r15=0",
            [f"7 ok cpu={cpu} of=2 end=done rip=1 rflags=2 r8=c000000000000000" for cpu in (1, 4)],
        ),
        ("7 run code=90 bits=32", ["7 ok cpu=0 of=1 end=done rip=1 rflags=2"]),
        ("7 run code=90 mem=1:ff read=0:3", ["7 ok cpu=0 of=1 end=done rip=1 rflags=2 mem=00ff00"]),
        ("7 run code=90 mem=2:ff read=0:18", ["7 ok cpu=0 of=1 end=done rip=1 rflags=2 mem=z02ffz15"]),
        ("7 run code=f4 on=3", [f"7 err cpu={cpu} of=2 code=state text=cr4=1 faults" for cpu in (0, 1)]),
        ("8 counts on=5", ["8 ok cpu=0 of=2 nmi=0", "8 ok cpu=2 of=2 nmi=20"]),
        ("8 nmi on=3 n=2", ["8 ok"]),
        ("8 nmi on=" + 63 * "0" + "3 n=2", ["8 ok"]),
        ("8 nmi on=10 n=1", ["8 err code=ETIMEDOUT text=an NMI"]),
        ("8 nmi on=10", ["8 err code=argument text=n: missing"]),
        ("8 nmi on=1 n=f", ["8 err code=argument text=n: "]),
        ("9 subject do=load", ["9 ok"]),
        ("9 subject do=load opt=slow", ["9 err code=EBUSY text=slow?"]),
        ("9 subject do=unload", ["9 err code=EIO text="]),
        ("9 subject do=query", ["9 ok loaded=0"]),
        ("9 subject do=query cpu=0", ["9 err code=argument text=unknown key cpu"]),
        ("9 subject do=trace cpu=4 n=12", ["9 ok exits=4:12"]),
        ("9 subject do=trace cpu=5 n=12", ["9 err code=argument text=cpu: "]),
        ("9 subject do=exits cpu=0", ["9 ok xxx"]),
        ("9 work do=start kinds=fpu,vdso", ["9 ok verb=0 kinds=fpu,vdso rounds=0 seconds=0"]),
        ("9 work do=start", ["9 err code=argument text=kinds: missing"]),
        ("9 work do=start kinds=none", ["9 err code=EOPNOTSUPP text=none: not?here"]),
        ("9 work do=wait rounds=3 limit=20", ["9 ok verb=1 kinds= rounds=3 seconds=20"]),
        ("9 work do=wait rounds=3", ["9 err code=argument text=limit: missing"]),
        ("9 work do=wait rounds=1000001 limit=1", ["9 err code=argument text=rounds: "]),
        ("9 work do=query", ["9 ok verb=2 "]),
        ("9 work do=query limit=1", ["9 err code=argument text=unknown key limit"]),
        ("9 work do=stop limit=5", ["9 ok verb=3 kinds= rounds=0 seconds=5"]),
        ("9 work do=nothing", ["9 err code=argument text=do: start, wait, query or stop"]),
        ("9 work", ["9 err code=argument text=do: start, wait, query or stop"]),
        ("9 kvm", ["9 ok insert=none"]),
        ("9 payload", ["9 err code=ENODEV text=no payload here"]),
        ("9 payload at=0", ["9 err code=argument text=unknown key at"]),
        ("9 kvm do=x", ["9 err code=argument text=unknown key do"]),
        ("9 subject do=dance", ["9 err code=argument text=do: load, unload"]),
        ("9 subject", ["9 err code=argument text=do: "]),
        ("9 frobnicate", ["9 err code=verb text=unknown verb frobnicate"]),
    ],
)
def test_verbs(talk: Talk, request_: str, answers: list[str]) -> None:
    said = talk(f"{HELLO}@1 0badcafe {request_} #-\n")[1:]
    assert len(said) == len(answers)
    for line, answer in zip(said, answers, strict=True):
        assert line.startswith(f"=1 0badcafe {answer}")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("", "code: missing"),
        ("code=", "code: 1 to 1024 bytes"),
        ("code=" + 1025 * "90", "code: 1 to 1024 bytes"),
        ("code=9", "code: an even number"),
        ("code=9G", "code: an even number"),
        ("code=90 code=90", "code: given twice"),
        ("code=90 cpl=1", "cpl: 0 or 3"),
        ("code=90 bits=8", "bits: 16, 32 or 64"),
        ("code=90 bits=32 bits=64", "bits: given twice"),
        ("code=90 on=0", "on: not a hexadecimal mask"),
        ("code=90 on=20", "on: a CPU that this machine does not have"),
        ("code=90 on=ffffffffffffffff", "on: a CPU that this machine does not have"),
        ("code=90 on=10000000000000001", "on: a CPU that this machine does not have"),
        ("code=90 on=1" + 64 * "0", "on: not a hexadecimal mask"),
        ("code=90 once=yes", "once: 0 or 1"),
        ("code=90 at=2000", "at: not an offset"),
        ("code=9090 at=1fff", "at: the code does not fit"),
        ("code=90 seed=x", "seed: not a lower-case"),
        ("code=90 rflags=", "rflags: not a lower-case"),
        ("code=90 rax=", "rax: not a hexadecimal number"),
        ("code=90 rax=s-", "rax: not a hexadecimal number"),
        ("code=90 rax=s+1", "rax: not a hexadecimal number"),
        ("code=90 rax=u1", "rax: not a hexadecimal number"),
        ("code=90 rax=10000000000000000", "rax: not a hexadecimal number"),
        ("code=90 rax=1 rax=1", "rax: given twice"),
        ("code=90 dr4=1", "unknown key dr4"),
        ("code=90 rip=1", "unknown key rip"),
        ("code=90 dr0=1 dr0=1", "dr0: given twice"),
        ("code=90 mem=0", "mem: OFFSET:HEXBYTES"),
        ("code=90 mem=:00", "mem: OFFSET:HEXBYTES"),
        ("code=90 mem=0:", "mem: bytes outside"),
        ("code=90 mem=0:000", "mem: an even number"),
        ("code=90 mem=1fff:0000", "mem: bytes outside"),
        ("code=90 mem=ffffffffffffffff:00", "mem: bytes outside"),
        ("code=90 " + 9 * "mem=0:00 ", "mem: at most 8 times"),
        ("code=90 read=0", "read: OFFSET:LEN"),
        ("code=90 read=0:0", "read: 1 to 800"),
        ("code=90 read=0:801", "read: 1 to 800"),
        ("code=90 read=1fff:2", "read: bytes outside"),
        ("code=90 keep=", "keep: MSR numbers"),
        ("code=90 keep=1,", "keep: MSR numbers"),
        ("code=90 keep=100000000", "keep: MSR numbers"),
        ("code=90 keep=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,10,11", "keep: at most 16"),
        ("code=90 keep=1,2,3,4,5,6,7,8,9,a,b,c,d,e,f,10 msr=11:1", "msr: at most 16"),
        ("code=90 leave=2", "leave: 0 or 1"),
        ("code=90 undo=yes", "undo: 0 or 1"),
        ("code=90 msr=1:1 msr=1:2", "msr: an MSR that is given twice"),
        ("code=90 msr=1", "msr: NUMBER:VALUE"),
        ("code=90 msr=1:", "msr: NUMBER:VALUE"),
        ("code=90 msr=1:u", "msr: NUMBER:VALUE"),
        ("code=90 msr=1:1:2:3", "msr: NUMBER:VALUE"),
        ("code=90 msr=100000000:1", "msr: NUMBER:VALUE"),
        ("code=90 msr=1:3:1", "msr: a bit that is to be set and cleared"),
        ("code=90 handle=1", "handle: VECTOR:OFFSET"),
        ("code=90 handle=1:", "handle: VECTOR:OFFSET"),
        ("code=90 handle=100:0", "handle: VECTOR:OFFSET"),
        ("code=90 handle=1:2000", "handle: VECTOR:OFFSET"),
        ("code=90 handle=1:0,", "handle: VECTOR:OFFSET"),
        ("code=90 handle=1:rr", "handle: VECTOR:OFFSET or VECTOR:r, x or p"),
        ("code=90 handle=1:r,", "handle: VECTOR:OFFSET"),
        ("code=90 handle=1:q", "handle: VECTOR:OFFSET"),
        ("code=90 handle=d:r", "handle: r is for #DB, NMIs and interrupts"),
        ("code=90 handle=3:0", "handle: #BP"),
        ("code=90 handle=12:0", "handle: #BP"),
        ("code=90 handle=1:0,1:0", "handle: a vector that is given twice"),
        ("code=90 handle=1:1", "handle: an offset behind the code"),
        ("code=90 handle=0:0,1:0,2:0,4:0,5:0,6:0,7:0,8:0,9:0", "handle: at most 8"),
        ("code=90 cr0=1", "cr0: SET:CLEAR"),
        ("code=90 cr4=1:2:3", "cr4: SET:CLEAR"),
        ("code=90 efer=1:1", "efer: a bit that is to be set and cleared"),
    ],
)
def test_wrong_arguments_of_run(talk: Talk, keys: str, text: str) -> None:
    said = talk(f"{HELLO}@1 0badcafe 2 run {keys} #-\n@1 0badcafe 3 run code=90 #-\n")
    assert said[1].startswith(f"=1 0badcafe 2 err code=argument text={text}")
    assert said[2] == "=1 0badcafe 3 ok cpu=0 of=1 end=done rip=1 rflags=2"


def test_msrs_of_run(talk: Talk) -> None:
    keys = "keep=10,1d9 msr=1d9:2:1 msr=c0000082:c5 msr=140:0c msr=10:s"
    said = talk(f"{HELLO}@1 0badcafe 2 run code=90 {keys} #-\n")
    # The test's platform brings back base, value and bits to clear of each.
    assert said[1] == (
        "=1 0badcafe 2 ok cpu=0 of=1 end=done rip=1 rflags=2"
        " msrs=10:11000000,1d9:20000201,c0000082:12000500,140:10000c00"
    )


def test_reserved_rflags_are_refused_as_state(talk: Talk) -> None:
    for bit in [3, 5, 9, 15, 17, *range(22, 64)]:
        said = talk(f"{HELLO}@1 0badcafe 2 run code=90 rflags={1 << bit:x} #-\n")
        assert said[1].startswith("=1 0badcafe 2 err code=state text=rflags: "), bit


def test_only_a_probe_that_handles_an_interrupt_starts_with_if_set(talk: Talk) -> None:
    for handle, allowed in (("1:r", False), ("2:r", False), ("20:0", True), ("1:r,50:r", True)):
        said = talk(f"{HELLO}@1 0badcafe 2 run code=90 rflags=202 handle={handle} #-\n")
        assert said[1].startswith(f"=1 0badcafe 2 {'ok' if allowed else 'err code=state'} "), handle


def test_garbage_between_lines_loses_nothing(talk: Talk) -> None:
    """Whatever comes before a line feed: the request behind it is answered."""
    generator = random.Random(1)
    sent = [HELLO.encode()]
    for number in range(2, 402):
        noise = bytes(byte for byte in generator.randbytes(generator.randrange(6000)) if byte != 10)
        sent.append(generator.choice([b"", b"@", b"@1 ", b"@1 0badcafe 5 run "]) + noise + b"\n")
        sent.append(b"@1 0badcafe %d counts on=1 #-\n" % number)
    said = talk(b"".join(sent))
    counted = [line for line in said if line.endswith("ok cpu=0 of=1 nmi=0")]
    assert counted == [f"=1 0badcafe {number} ok cpu=0 of=1 nmi=0" for number in range(2, 402)]
    others = [line for line in said[1:] if line not in counted]
    assert others
    assert all(re.match(r"=1 - 0 err code=(syntax|too-long|checksum) text=", line) for line in others)


def test_every_damaged_request_is_answered(talk: Talk) -> None:
    """Without a checksum damage gets through to the verbs: an answer of theirs, or a refusal."""
    generator = random.Random(2)
    seeds = [
        b"@1 0badcafe 1 run code=0fa2 cpl=3 once=1 at=10 seed=5 rax=s mem=0:ff read=0:8 keep=10 msr=14:1 #-",
        b"@1 0badcafe 1 run code=90 bits=32 rflags=cd7 cr0=8:4 cr4=0:1 efer=0:1 dr0=s rsp=t-8 dr7=401 #-",
        b"@1 0badcafe 1 subject do=trace cpu=0 n=5 #-",
        b"@1 0badcafe 1 nmi on=1 n=1 #-",
    ]
    sent = [HELLO.encode()]
    for number in range(2, 3002):
        line = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 3)):
            # Behind the head and in front of the checksum.
            line[generator.randrange(14, len(line) - 3)] = generator.choice(b"0123456789abcdefgst:,=- x")
        sent.append(b"%s\n@1 0badcafe %d counts on=1 #-\n" % (line, number))
    said = talk(b"".join(sent))[1:]
    kinds: Counter[str] = Counter()
    number = 2
    answered = False
    for answer in said:
        if answer.startswith(("=1 0badcafe 1 ", "=1 - 0 err ")):
            answered = True
            kinds[answer.split()[3]] += 1
        else:
            assert answer == f"=1 0badcafe {number} ok cpu=0 of=1 nmi=0"
            assert answered, f"nothing was said to the line before request {number}"
            number += 1
            answered = False
    assert number == 3002
    assert min(kinds["ok"], kinds["err"]) > 100
