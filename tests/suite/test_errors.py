# ruff: noqa: E501 (the messages are looked for as they are, in one piece)
"""The texts of the errors."""

from __future__ import annotations

import pytest

from tests.support.suite_texts import HEAD, loaded, problems, wrong

BROKEN = """\
suite: Broken
area: exit
requires: vendor == intle
phse: loaded
checks:
  - id: exits.a
    titel: A
    level: mst
    cite: {doc: intel-sdm, titel: T, says: S}
    each: {cpl: [0, 2], on: [every], bits: 8}
    bits: 8
    given: {eax: 5, rdi: scrach, cr4: {osxsav: 1}, keep: [ia32-lstr], rflags: {if: 1}}
    run: |
      mov eax, 1
      .section .text
    expect: {exception: "#UB", "rax[64:0]": 1, "ecx as cpuid.1.ecx": {vmxx: 0}, rflags.cx: 1}
    timeout: 0
  - id: exits.a
    title: A
    title: B
    run: nop
    expect: natve
"""


def test_everything_at_once_and_in_order() -> None:
    assert problems(BROKEN) == [
        "2:7: area must be broadcast, exits, teardown or nested, not 'exit' (did you mean 'exits'?)",
        "3:21: requires: vendor is intel or amd, never 'intle' (did you mean 'intel'?)",
        "4:1: unknown key 'phse' in the suite (did you mean 'phase'?)",
        "6:5: the check has no 'title'",
        "7:5: unknown key 'titel' in a check (did you mean 'title'?)",
        "8:12: level must be must, should or may, not 'mst' (did you mean 'must'?)",
        "9:11: cite has no title: name the document, the title and the sentence",
        "9:28: unknown key 'titel' in cite (did you mean 'title'?)",
        "10:21: cpl must be 0 or 3, not '2'",
        "10:30: on must be first, last, every-cpu or together, not 'every' (did you mean 'every-cpu'?)",
        "10:44: bits must be 64, 32 or 16, the kind of code segment, not '8'; a variable needs another name",
        "11:11: bits must be 64, 32 or 16, the kind of code segment, not '8'",
        "12:13: 'eax': start values are given for whole registers; write rax",
        "12:26: the body has no label 'scrach' (did you mean 'scratch'?)",
        "12:40: cr4 has no bit 'osxsav' (did you mean 'osxsave'?)",
        "12:59: 'ia32-lstr' is no MSR (did you mean 'ia32-lstar'?)",
        "12:79: rflags.if can be set only if `handle` has an interrupt: nothing else may interrupt a probe",
        "15:7: the directive .section is not allowed in a body, which is code and data (.byte to .octa, .align)",
        "16:25: there is no exception #UB (did you mean '#UD'?)",
        "16:32: 'rax[64:0]': a bit range is [HIGH:LOW], from 63 to 0, or one bit [N]",
        "16:71: cpuid.1.ecx has no bit 'vmxx' (did you mean 'vmx'?)",
        "16:81: rflags has no bit 'cx'; it has cf, pf, af, zf, sf, tf, if, df, of, iopl, nt, rf, vm, ac, vif, vip, id",
        "17:14: timeout must be seconds, more than 0 and up to 3600, not '0'",
        "18:5: the check has no 'cite', and the suite has none either: every check says what it proves",
        "18:9: the id 'exits.a' is already used in line 6",
        "20:5: 'title' is given twice in a check; the first one is in line 19",
        "22:13: expect is `native` or a mapping ({exception: \"#UD\"}), not 'natve'",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: reel\nrun: nop\nexpect: native",
         "mode must be long, pae-paging, 32-bit-paging, no-paging, real or virtual-8086, not 'reel'"),
        ("mode: real\neach: {mode: [long, real]}\nrun: nop\nexpect: native",
         "mode is given in each as well; keep one of the two"),
        ("mode: real\nbits: 32\nrun: nop\nexpect: native",
         "bits: 32 does not exist in mode: real, which has code of 16 bits"),
        ("mode: real\neach: {cpl: 3}\nrun: nop\nexpect: native", "cpl: 3: mode: real has no privilege levels"),
        ("mode: pae-paging\neach: {cpl: 3}\nhandle: {\"#UD\": start}\nrun: nop\nexpect: native", "handle: at CPL 3 a body in mode: pae-paging has no handlers"),
        ("mode: virtual-8086\neach: {cpl: 3}\nrun: nop\nexpect: native", "cpl: 3: mode: virtual-8086 is always at CPL 3; leave cpl out"),
        ("mode: virtual-8086\nbits: 32\nrun: nop\nexpect: native",
         "bits: 32 does not exist in mode: virtual-8086, which has code of 16 bits"),
        ("mode: virtual-8086\nhandle: {'#UD': start}\nrun: nop\nexpect: native", "handle: at CPL 3 a body in mode: virtual-8086 has no handlers"),
        ("mode: virtual-8086\ngiven: {cs-base: 0x1000}\nrun: nop\nexpect: native",
         "cs-base: in mode: virtual-8086 the base of all segments is that of the slot"),
        ("mode: virtual-8086\ngiven: {at: {end: 0x5000}}\nrun: nop\nexpect: native",
         "at: in mode: virtual-8086 the code is in the slot, below 1 MiB"),
        ("mode: no-paging\ngiven: {r8: 1}\nrun: nop\nexpect: native", "r8: mode: no-paging has no registers but EAX to EDI"),
        ("mode: no-paging\nrun: nop\nexpect: {r8d: 1}", "r8d: mode: no-paging has no registers but EAX to EDI"),
        ("mode: no-paging\ngiven: {rax: 0x1_0000_0000}\nrun: nop\nexpect: native",
         "rax: 0x100000000 does not fit into the 32 bits of a register in mode: no-paging"),
        ("mode: no-paging\ngiven: {rsp: scratch}\nrun: nop\nexpect: native",
         "rsp: in mode: no-paging exceptions use the body's stack: stack, stack-N"),
        ("mode: no-paging\nhandle: {nmi: start}\nrun: nop\nexpect: native", "handle: in mode: no-paging handlers are code of the body, for exceptions"),
        ("mode: real\ngiven: {at: {start: 0x5000}}\nrun: nop\nexpect: native", "at: mode: real has no paging"),
        ("mode: real\ngiven: {pages: {scratch: absent}}\nrun: nop\nexpect: native", "pages: mode: real has no paging"),
        ("mode: real\ngiven: {cs-base: 0}\nrun: nop\nexpect: native",
         "cs-base: in mode: real the base of all segments is that of the slot"),
        ("mode: 32-bit-paging\ngiven: {pages: {scratch: no-execute}}\nrun: nop\nexpect: native",
         "an entry of 32-bit paging has neither no-execute nor a reserved bit 51"),
        ("given: {cs-base: 1}\nrun: nop\nexpect: native", "cs-base says nothing for 64-bit code, whose segment has no base"),
        ("bits: 32\ngiven: {at: {start: 0x1_0000_0001}}\nrun: nop\nexpect: native",
         "at: 0x100000001 is no address of 32-bit code, which ends at 4 GiB"),
        ("given: {at: {scratch: 0x5000}}\nrun: nop\nexpect: native",
         "at names a place in the body: start, end or a label, not 'scratch'"),
        ("given: {at: {start: 0x5000, end: 0x5001}}\nrun: nop\nexpect: native",
         "at puts one place of the body at a linear address; keep one of them"),
        ("given: {at: {spot: 0x5000}}\nrun: nop\nexpect: native",
         "the body has no label 'spot'; words are start, end, scratch, stack"),
        ("given: {pages: {scratch: absend}}\nrun: nop\nexpect: native", "a page cannot be 'absend' (did you mean 'absent'?)"),
        ("given: {pages: {scratch: wc}}\nrun: nop\nexpect: native",
         "a page cannot be 'wc'; no entry of the PAT is WC after reset: set one with msrs: {ia32-pat: ...}, and write pat-4 to pat-7"),
        ("given: {pages: {scratch: [uc, wt]}}\nrun: nop\nexpect: native", "'wt' contradicts another word of this page"),
        ("given: {pages: {1x: absent}}\nrun: nop\nexpect: native",
         "a page is named by an address in it: scratch+0x1000, end, 0x5000, not '1x'"),
        ("given: {pages: {scratch: {}}}\nrun: nop\nexpect: native",
         "a page is words (absent, read-only, ...), or {same-as: ADDRESS, is: words}"),
        ("given: {pages: {0x5000: {same-as: 1x}}}\nrun: nop\nexpect: native", "same-as is an address, as scratch+0x1000, not '1x'"),
    ],
)  # fmt: skip
def test_modes_and_places(text: str, message: str) -> None:
    assert wrong(text) == [message]


def test_bits_given_twice() -> None:
    assert wrong("each: {bits: [32, 64]}\nbits: 32\nrun: nop\nexpect: native") == [
        "bits is given in each as well; keep one of the two"
    ]


def test_any_of_nothing() -> None:
    assert wrong("run: nop\nexpect: {rax: any, rbx: 5}") == [
        "any of rax says nothing here: it takes bits out of `native: true`, and registers out of `gprs: unchanged`"
    ]
    assert wrong("run: nop\nexpect: {gprs: unchanged, rax: any, rflags.cf: any}") == [
        "any of rflags.cf says nothing here: it takes bits out of `native: true`, and registers out of `gprs: unchanged`"
    ]
    assert wrong("run: nop\nexpect: {native: true, rax: any, eax: 5}") == [
        "'eax' and 'rax' speak of the same bits"
    ]


def test_several_exceptions() -> None:
    assert wrong('run: nop\nexpect: {exception: {in: ["#UD", native, "#UD", "#UB", "#GP", "#GP(0)"]}}') == [
        "'native' is no exception; it stands alone: exception: native",
        "#UD is listed twice",
        "there is no exception #UB (did you mean '#UD'?)",
    ]
    assert wrong('run: nop\nexpect: {exception: {not: "#UD"}}') == [
        "unknown key 'not' in exception; it takes in"
    ]


def test_msrs_that_cannot_be_given() -> None:
    assert wrong(
        "given: {msrs: {ia32-lstr: 1, 0x1d9: {btff: 1}, 0x10: {a: 1}, efer: 1, ia32-debugctl: here, 0x140: 1, 0x141: [1]}}\n"
        "run: nop\nexpect: native"
    ) == [
        "'ia32-lstr' is no MSR (did you mean 'ia32-lstar'?)",
        "debugctl has no bit 'btff' (did you mean 'btf'?)",
        "the bits of 0x10 have no names here; write the value as a number",
        "EFER has a key of its own: given: {efer: {sce: 1}}",
        "'ia32-debugctl' is MSR 0x1d9, which is given already",
        "0x141 must be a single value, not a list",
    ]
    assert wrong("given: {msrs: {ia32-lstar: here}}\nrun: nop\nexpect: native") == [
        "the body has no label 'here'; words are start, end, scratch, stack"
    ]
    assert wrong(
        "given: {keep: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], msrs: {11: 0, 12: 0, 13: 0, 14: 0, 15: 0, 16: 0, 17: 0}}\n"
        "run: nop\nexpect: native"
    ) == ["17 MSRs to keep, to set or to read; a probe can have 16"]


def test_descriptor_tables_that_cannot_be_expected() -> None:
    found = wrong(
        "run: nop\nexpect: {idtr: {bas: 1}, gdtr: {limit: 0x10000}, ldtr: {base: 1}, tr: task, gdtr.size: 1, idtrs: 1}"
    )
    assert "the body has no label 'task' (did you mean 'stack'?)" in found
    assert [one for one in found if "task" not in one] == [
        "idtr has no 'bas' (did you mean 'base'?)",
        "0x10000 does not fit into gdtr.limit, which has 16 bits",
        "ldtr is a number, an address, unchanged or native; it has no parts",
        "gdtr has no 'size'; it has base, limit",
        "'idtrs' is no register (did you mean 'idtr'?)",
    ]
    assert wrong("mode: pae-paging\nrun: nop\nexpect: {idtr: native}")[0] == (
        "idtr.base is measured in mode: long only, not in mode: pae-paging"
    )


def test_msrs_that_cannot_be_expected() -> None:
    assert wrong(
        "run: nop\nexpect: {msrs: {ia32-lstr: 1, 0x1d9: {btff: 1}, 0x10: {a: 1}, 0x140: unchanged, 5: {in: [1], not: 2}}}"
    ) == [
        "'ia32-lstr' is no MSR (did you mean 'ia32-lstar'?)",
        "debugctl has no bit 'btff' (did you mean 'btf'?)",
        "the bits of 0x10 have no names here; write the value as a number",
        "msr 0x140 has no start value that could be unchanged; give a value, or native",
        "'msrs.5' takes either in or not, and nothing beside it",
    ]
    kept = ", ".join(map(str, range(15)))
    assert wrong(f"given: {{keep: [{kept}]}}\nrun: nop\nexpect: {{msrs: {{18: 1, 19: 1}}}}") == [
        "17 MSRs to keep, to set or to read; a probe can have 16"
    ]


def test_handlers_that_cannot_be() -> None:
    assert wrong(
        'handle: {"#BP": start, "#MC": start, "#UB": start, "#GP(0)": start, "#DB": scratch, vector 1: here, 5: start,'
        " nmi: start, vector 2: start}\nrun: nop\nexpect: native"
    ) == [
        "the body has no label 'here'; words are start, end, scratch, stack",
        "#BP ends a probe, so the body cannot handle it",
        "#MC is the agent's",
        "there is no exception #UB (did you mean '#UD'?)",
        "a handler gets every error code; write #GP",
        "the handler of #DB is a label of the body, start+N, or return, no-gate, not-present, not 'scratch'",
        '\'5\' is no exception; write none, "#UD", "#GP(0)" or "vector 0x21", or nmi',
        "'vector 2' is vector 2, which is handled already",
    ]


def test_events_that_cannot_be() -> None:
    assert wrong(
        'handle: {"#GP": return, nmi: return, vector 0x50: gone}\n'
        'expect: {events: [nmi, {nmi: scratch}, {nmi: end, "#DB": end}, {nmi: end, dr6: {bs: 1}}, {"#XX": end}, {nmi: lost}]}\n'
        "run: |\n  raise\n  raise 0x20\n  raise 0x60\n  timer 0x50\n  timer 0x50, 0\n  raise nmi"
    ) == [
        "the body has no label 'gone'; words are start, end, scratch, stack",
        "return from #GP would raise it again; it is for #DB, nmi and interrupts",
        "the body has no label 'lost'; words are start, end, scratch, stack",
        "an event of the list says where it arrives: {nmi: label}, {vector 0x50: any}",
        "nmi arrives at a label, start+N, end or any, not at 'scratch'",
        "an entry of the list is one event; begin the next one with its own braces",
        "DR6 is measured at #DB only",
        "there is no exception #XX (did you mean '#XM'?)",
        "write `raise nmi` or `raise 0x50`",
        "the vector of raise must be from 0x30 to 0xef, not 0x20",
        "raise 0x20: `handle` has no vector 0x20",
        "raise 0x60: `handle` has no vector 0x60",
        "write `timer 0x50, 1000`",
        "timer counts down from a number from 1 to 2^31-1, not from 0",
    ]


def test_events_of_no_handler() -> None:
    assert wrong(
        'given: {rflags: {if: 1}}\nhandle: {"#DB": start}\nrun: nop\nexpect: {events: {nmi: no}}'
    ) == [
        "rflags.if can be set only if `handle` has an interrupt: nothing else may interrupt a probe",
        "nothing notes events: handle: {nmi: return}",
        'events.nmi must be a count: 1, ">=1", "<=3" or "1..3", not \'no\'',
    ]


def test_rows() -> None:
    found = problems(
        f"""{HEAD}  - id: exits.x
    title: X
    each:
      rows: [{{a: 1, cpl: 0}}, {{a: 1, cpl: 0}}, {{a: 1}}, {{b: 5, cpl: 3}}, 7, {{a: 2, cpl: 1, vendor: intel, rows: 3}}]
    run: nop
    expect: native
"""
    )
    assert found == [
        "8:14: this row has no b, which other rows have",
        "8:30: this row has no b, which other rows have",
        "8:46: this row has no cpl and no b, which other rows have",
        "8:54: this row has no a, which other rows have",
        "8:70: a row gives values to several variables: rows: [{insn: cpuid, length: 2}, ...], not '7'",
        "8:85: cpl must be 0 or 3, not '1'",
        "8:88: 'vendor' cannot be a variable of each; bodies per vendor go into run",
        "8:103: 'rows' cannot be a variable of each; rows do not hold rows",
    ]


def test_rows_listed_twice() -> None:
    assert wrong("each: {rows: [{a: 1, b: 2}, {a: 1, b: 2}], b: 3}\nrun: mov eax, {a}\nexpect: native") == [
        "each.rows lists this row twice",
        "'b' is a key of each and of its rows; keep one of the two",
    ]


@pytest.mark.parametrize(
    ("each", "used"),
    [
        ("x: [1, 2, 3], cpl: [0, 3]", "1"),
        ("x: [1, 2], y: [4, 5]", "{y}"),
        ("rows: [{x: 1, y: 2}, {x: 2, y: 3}]", "{y}"),
    ],
)
def test_an_unused_variable_is_one_error(each: str, used: str) -> None:
    assert wrong(f"each: {{{each}}}\nrun: mov eax, {used}\nexpect: native") == [
        "each.x is used nowhere: write {x} in run, given or expect"
    ]


def test_sums_that_do_not_fit() -> None:
    assert wrong('given: {rax: "0xffffffff_ffffffff + 1"}\nrun: nop\nexpect: {eax: 0xffffffff+1}') == [
        "rax must be a number or an address (scratch+8, start+2, stack-8, end, a label), not '0xffffffff_ffffffff + 1'",
        "0xffffffff+1 does not fit into eax, which has 32 bits",
    ]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        # each
        ("each: {vendor: [a]}\nrun: nop\nexpect: native", "'vendor' cannot be a variable of each; bodies per vendor go into run"),
        ("each: {cpl: [0, 0]}\nrun: nop\nexpect: native", "each.cpl lists 0 twice"),
        ("each: {x: [1]}\nrun: nop\nexpect: native", "each.x is used nowhere: write {x} in run, given or expect"),
        ("each: {cpl: []}\nrun: nop\nexpect: native", "each.cpl is an empty list"),
        (
            "each: {x: [1]}\nrun: mov eax, {x}\ngiven: {rax: '{y}'}\nexpect: native",
            "'{y}' is no variable of each",
        ),
        ("run: nop\ngiven: {rax: '{msr}'}\nexpect: native", "'{msr}' is no variable of each"),
        (
            "each: {msr: [1]}\ngiven: {keep: [{msr}]}\nrun: nop\nexpect: native",
            'YAML takes {msr} for a mapping; to use the variable, quote it: "{msr}"',
        ),
        (
            "run: mov ecx, {mrs}\nexpect: native",
            "{mrs} is no variable of `each` and nothing that the assembler knows",
        ),
        # given
        ("given: {rax: 012}\nrun: nop\nexpect: native",
         "rax must be a number or an address (scratch+8, start+2, stack-8, end, a label), not '012';"
         " a leading zero is ambiguous, write it without, or in hex"),
        ("given: {rax: 1.5}\nrun: nop\nexpect: native",
         "rax must be a number or an address (scratch+8, start+2, stack-8, end, a label), not '1.5'"),
        ("given: {rax: 0x1_0000_0000_0000_0000}\nrun: nop\nexpect: native",
         "0x1_0000_0000_0000_0000 does not fit into rax, which has 64 bits"),
        ("given: {cr4: 5}\nrun: nop\nexpect: native",
         "cr4 starts as it is, with bits set (1) or cleared (0): {osxsave: 1}"),
        ("given: {cr4: {vmxe: 2}}\nrun: nop\nexpect: native", "cr4.vmxe must be from 0x0 to 0x1, not 2"),
        ("given: {rflags: 0x200}\nrun: nop\nexpect: native",
         "rflags.if can be set only if `handle` has an interrupt: nothing else may interrupt a probe"),
        ("given: {cr3: 5}\nrun: nop\nexpect: native", "'cr3' cannot be given; write it in `run`"),
        ("given: {memory: {0x2000: 5}}\nrun: nop\nexpect: native",
         "'0x2000': memory is named by offsets in the scratch area, 0 to 0x1fff"),
        ("given: {memory: {0x1ffc: 5}}\nrun: nop\nexpect: native",
         "8 bytes at 0x1ffc do not fit into the scratch area of 0x2000 bytes"),
        ("given: {memory: {0: 48 8b}}\nrun: nop\nexpect: native",
         "memory at 0x0 must be a number or hex bytes in quotes (\"48 8b\"), not '48 8b'"),
        ("given: {memory: {0: '4'}}\nrun: nop\nexpect: native",
         "'4' is not hex bytes (\"48 8b\"); numbers and words have no quotes"),
        ("given: {memory: {0: 1, 4: 1}}\nrun: nop\nexpect: native",
         "the memory at 0x0 (8 bytes) overlaps the one at 0x4"),
        ("given: {memory: {0: {bytes: 1, is: 256}}}\nrun: nop\nexpect: native", "256 does not fit into 1 bytes"),
        ("given: {at: 0x2000}\nrun: nop\nexpect: native",
         "at (an offset in the code area, page-end, or {LABEL: linear address}) must be from 0x0 to 0x1ffe, not 0x2000"),
        (f"given: {{keep: [{', '.join(map(str, range(17)))}]}}\nrun: nop\nexpect: native",
         "17 MSRs to keep, to set or to read; a probe can have 16"),
        # run
        ("run: [nop, [nop]]\nexpect: native", "run must be a single value, not a list"),
        ("run: []\nexpect: native", "run is an empty list"),
        ("run: [nop, '']\nexpect: native", "run has no instruction"),
        ("run: [nop, {amd: vmmcall, intl: vmcall}]\nexpect: native", "unknown key 'intl' in run (did you mean 'intel'?)"),
        ("run: [{amd: vmmcall, intel: vmcall}, {amd: nop}]\nexpect: native",
         "another part of this body is for intel; this one has no 'intel:'"),
        ("run: ['a: nop', {amd: 'a: vmmcall'}]\nexpect: native", "the label 'a' is defined twice"),
        ("run:\nexpect: native", "run has no value"),
        ("run: |\n  \nexpect: native", "run has no instruction"),
        ("run: >\n  nop\n  nop\nexpect: native",
         "YAML joins the lines of this text into one; write `run: |` and the lines below it"),
        ("run: nop\n  nop\nexpect: native",
         "YAML joins the lines of this text into one; write `run: |` and the lines below it"),
        ("run: {intl: nop}\nexpect: native", "unknown key 'intl' in run (did you mean 'intel'?)"),
        ("run: |\n  a: nop\n  a: nop\nexpect: native", "the label 'a' is defined twice"),
        ("run: 'rax: nop'\nexpect: native",
         "'rax' is a word of the language or a register and cannot be a label"),
        ("run: 'TSS: nop'\nexpect: native", "'TSS' is a constant of the language (0x40) and cannot be a label"),
        ("run: .include \"/etc/passwd\"\nexpect: native",
         "the directive .include is not allowed in a body, which is code and data (.byte to .octa, .align)"),
        # expect
        ("run: nop\nexpect: {}", "expect is empty; if the probe must only end without an exception, say {exception: none}"),
        ("run: nop\nexpect: {rax: }", "'rax' has no value"),
        ("run: nop\nexpect: {rax: {vmx: 1}}", "rax has no named bits of its own; say whose they are: 'rax as cr4'"),
        ("run: nop\nexpect: {rax.cf: 1}", "rax has no named bits; say whose they are: 'rax as NAME'"),
        ("run: nop\nexpect: {rax as cr5: {x: 1}}", "there are no bit names for 'cr5' (did you mean 'cr4'?)"),
        ("run: nop\nexpect: {ecx as cpuid.01.ecx: {vmx: 0}}", "there are no bit names for 'cpuid.01.ecx' (did you mean 'cpuid.0x1.ecx'?)"),
        ("run: nop\nexpect: {al as cr4: {vmxe: 1}}", "cr4.vmxe is bit 13, but al as cr4 has 8 bits only"),
        ("run: nop\nexpect: {al: 256}", "256 does not fit into al, which has 8 bits"),
        ("run: nop\nexpect: {cr4: 1}",
         "cr4 is not measured at the end of a probe; read it into a register in `run`, and expect 'rax as cr4'"
         " (or a plain rax)"),
        ("run: nop\nexpect: {eflags: 1}", "'eflags': write rflags"),
        ("run: nop\nexpect: {RAX: 1}", "'RAX': registers are written in lower case: rax"),
        ("run: nop\nexpect: {gpr: unchanged}", "'gpr' is no register (did you mean 'gprs'?)"),
        ("run: nop\nexpect: {rax: unchangd}", "'unchangd' is no value for rax (did you mean 'unchanged'?)"),
        ("run: nop\nexpect: {rax: nowhere}", "the body has no label 'nowhere'; words are start, end, scratch, stack"),
        ("run: nop\nexpect: {rax: claim.a+b}", "'claim.a+b': a claim of the subject is claim.NAME or claim.NAME+N"),
        ("run: nop\nexpect: {cr2: unchanged}",
         "cr2 has no start value that could be unchanged; give a value, or native"),
        ("run: nop\nexpect: {rax: same-on-every-cpu}",
         "same-on-every-cpu of rax says nothing on one CPU; add each: {on: [every-cpu]}"),
        ("run: nop\nexpect: {rax: 1, eax: 1}", "'eax' and 'rax' speak of the same bits"),
        ("run: nop\nexpect: {rax: {in: [1], not: 2}}", "'rax' takes either in or not, and nothing beside it"),
        ('run: nop\nexpect: {exception: "#UD(0)"}', "#UD has no error code; write #UD"),
        ('run: nop\nexpect: {exception: "#GP(x)"}', "the error code of #GP must be a number, not 'x'"),
        ("run: nop\nexpect: {exception: UD}", "'UD' is no exception (did you mean '#UD'?)"),
        ("run: nop\nexpect:\n  exception: #XQ", "exception has no value; YAML takes #XQ for a comment, so quote it: \"#XQ\""),
        ("run: nop\nexpect: {rip: scratch}", "rip must be start, start+N, end, or a label of the body, not 'scratch'"),
        ("run: nop\nexpect: {exits: {cpuid: '>=0'}}", 'exits.cpuid: ">=0" always holds'),
        ("run: nop\nexpect: {exits: {cpuid: many}}",
         'exits.cpuid must be a count: 1, ">=1", "<=3" or "1..3", not \'many\''),
        ("run: nop\nexpect: {exits: {CPUID: 1}}",
         "'CPUID' is no name of an exit counter; they are lower case: cpuid, rdmsr"),
        ("run: nop\nexpect: {memory: {0: native, 0x100: native}}",
         "the memory named spans 264 bytes, from 0x0; a probe brings back 200"),
        ("run: nop\nexpect: {native: yes}", "native must be true or false, not 'yes'"),
        # the check
        ("run: nop\nexpect: native\nclaims: yes", "claims must be true or false, not 'yes'"),
        ("run: nop\nexpect: native\ntags: [a b]", "'a b' cannot be one of tags: letters, digits, '.', '-' and '_' only"),
        ("run: nop\nexpect: native\ntimeout: 1h", "timeout must be seconds, more than 0 and up to 3600, not '1h'"),
        ("run: nop\nexpect: native\nrequires: cpus > two", "requires: cpus is a number, 'two' is none"),
        ("run: nop\nexpect: native\nlevel: !!str must", "level must be a single value, not something with the tag tag:yaml.org,2002:str"),
        ("expect: native", "the check has no 'run'"),
        ("run: nop", "the check has no 'expect'"),
    ],
)  # fmt: skip
def test_message_of_one_mistake(entry: str, expected: str) -> None:
    assert wrong(entry) == [expected]


def test_ids() -> None:
    def entry(name: str) -> list[str]:
        return problems(f"{HEAD}  - {{id: {name}, title: X, run: nop, expect: native}}\n")

    assert entry("nested.x") == ["5:10: the id 'nested.x' must start with its area: exits."]
    assert entry("exits.X") == [
        "5:10: the id 'exits.X' must be lower-case words joined by '.' or '-': nested.vmx.vmxon-ud"
    ]


def test_proves_names_an_unknown_requirement() -> None:
    text = f"{HEAD}  - {{id: exits.x, title: X, proves: [exit-cpuid], run: nop, expect: native}}\n"
    assert problems(text, requirements={"exits-cpuid"}) == [
        "5:38: there is no requirement 'exit-cpuid' (did you mean 'exits-cpuid'?)"
    ]
    assert problems(text, requirements={"exit-cpuid"}) == []
    assert loaded(text).checks[0].proves == ("exit-cpuid",)


def test_too_many_cases() -> None:
    values = ", ".join(map(str, range(300)))
    assert wrong(f"each: {{x: [{values}]}}\nrun: mov eax, {{x}}\nexpect: native") == [
        "each makes 300 cases; a check has at most 256: split it"
    ]


def test_an_alias_that_contains_itself_ends() -> None:
    assert wrong("each: {x: [1]}\nrun: mov eax, {x}\ngiven: &a {rax: *a}\nexpect: native")


def test_an_error_is_one_line() -> None:
    """Also where it quotes text with a line's end in it, such as U+2028."""
    found = problems(f'{HEAD}  - {{id: exits.a, title: A, run: nop, expect: "na\u2028ti\\nve"}}\n')
    assert found == ["5:47: expect is `native` or a mapping ({exception: \"#UD\"}), not 'na ti ve'"]
