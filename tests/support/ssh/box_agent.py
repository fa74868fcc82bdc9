#!/usr/bin/env python3
"""An agent for boxes without our module: it speaks the protocol, and misbehaves when told to."""

import binascii
import os
import sys
import time
from pathlib import Path

HOME = Path("@HOME@")


def seal(body: str) -> None:
    data = body.encode()
    sys.stdout.write(f"{body} #{binascii.crc_hqx(data, 0xFFFF):04x}\n")
    sys.stdout.flush()


if not (HOME / "modules" / "touchstone_agent").exists():
    sys.exit("no module")
cpus = int(os.environ.get("FAKE_CPUS", "2"))
seal(f"!1 ready os=linux cpus={cpus}")
for line in sys.stdin:
    body = line.rpartition(" #")[0]
    _, nonce, number, verb, *pairs = body.split(" ")
    fields = dict(pair.split("=", 1) for pair in pairs)
    if verb == "hello":
        nonce = fields["nonce"]
        seal(
            f"=1 {nonce} {number} ok agent=fake os=linux cpus={cpus} vendor=amd slot=100000 uslot=40000000"
            " stride=8000 subject=none"
        )
    elif verb == "run":
        code = bytes.fromhex(fields["code"])
        if code == b"hang":
            (HOME / "hanging").touch()
            time.sleep(3600)
        if code == b"exit":
            sys.exit("the agent gave up")
        seal(f"=1 {nonce} {number} ok cpu=0 of=1 end=done rip={0x100000 + len(code):x} rflags=2")
    elif verb == "counts":
        for cpu in range(cpus):
            seal(f"=1 {nonce} {number} ok cpu={cpu} of={cpus} nmi=7")
    else:
        seal(f"=1 {nonce} {number} err code=verb text=not here")
