"""STF files played on small programs: `softswitch stf`."""

from __future__ import annotations

from pathlib import Path

import pytest
from softswitch import ir
from softswitch.entries import KeyPart
from softswitch.main import main
from softswitch.stf.play import key_part
from softswitch.stf.syntax import Add, Call, Expect, Packet, StfError, parse
from softswitch.tests.bmv2_json import forwarding
from softswitch.tests.record import DATA

CONTRACT = DATA / "contract.json"
STREAMS = DATA / "streams.json"

SENT = "02000000000102000000aa0108001122"
FORWARDING = """
# from port 1 to port 5
add exact_table dst:0x020000000001 port:1 forward(port:5)
packet 1 02000000 0001 02000000aa01 0800 1122
expect 5 0200000000**02000000AA01 08001122 $
"""
EVERYTHING = """
setdefault ContractIngress.exact_table ContractIngress.forward(port : 3)   # comments stay out
expect 3 ab      # before the packet that causes it
packet 9 ab
ADD exact_table dst:0x02 port:0b1 flood(group:0x11)
mc_mgrp_create 0x11
mc_node_create 7 4 5
mc_node_create 0 6
mc_node_associate 17 0
mc_node_associate 17 1
wait
packet 1 000000000002 000000000000 0800
expect 5 000000000002
expect 4 0000000000020000000000000800$
expect 6 *
add lpm_table address:0x0a01**** forward(port:8)
add lpm_table address:0x0a****** forward(port:7)
packet 0 000000000000 000000000000 88b5 0a010203 0010
expect 8 000000000000 000000000000 88b5 0a010203 0010$
packet 0 000000000000 000000000000 88b5 0a020203 0010
expect 7 000000000000 000000000000 88b5 0a020203
packet 0 000000000000 000000000000 88b5 0b020203 0010
expect 3
"""
PRIORITIES = """
setdefault exact_table forward(port:3)
add acl_table 10 label:0x1 src:0x******** drop()
add acl_table 20 label:0x1 src:0x*******1 NoAction()
add acl_table 0 label:0x2 drop()
packet 0 000000000000 000000000001 88b5 00000000 0010
expect 3 000000000000 000000000001
packet 0 000000000000 000000000002 88b5 00000000 0010
packet 0 000000000000 000000000002 88b5 00000000 0020
packet 0 000000000000 000000000002 88b5 00000000 0030
expect 3 0000000000000000000000*2 88b5 00000000 0030$
"""
CLONES = """
mirroring_add 5 510
packet 510 0180 000000000001 000000000002 88b6
expect 3 000000000001 000000000002 88b6$
expect 510 ff02 00001234 000000000001 000000000002 88b6$
"""


@pytest.fixture
def play(engine_cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> object:
    def played(config: Path, text: str) -> tuple[int, str]:
        test = tmp_path / "test.stf"
        test.write_text(text)
        status = main(["stf", str(config), str(test), "--cache-dir", str(engine_cache)])
        return status, capfd.readouterr().err

    return played


@pytest.mark.parametrize(
    ("config", "text"),
    [
        pytest.param(CONTRACT, "", id="nothing"),
        pytest.param(CONTRACT, FORWARDING, id="forwarding"),
        pytest.param(CONTRACT, EVERYTHING, id="every-statement"),
        pytest.param(CONTRACT, PRIORITIES, id="priorities"),
        pytest.param(STREAMS, CLONES, id="clones"),
    ],
)
def test_stf_that_is_as_expected_ends_with_0(play, config: Path, text: str) -> None:  # type: ignore[no-untyped-def]
    assert play(config, text) == (0, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (FORWARDING.replace("AA01", "AA02"), "line 5: port 5, packet 1: expected"),
        (FORWARDING.replace("expect 5", "expect 6"), "port 5: a packet that is not expected"),
        (FORWARDING.replace("expect 5", "expect 6"), "line 5: port 6: expected a packet, got none"),
        (FORWARDING.replace("1122 $", "11 $"), "packet 1: expected"),
        (FORWARDING.replace("1122 $", "112233"), "packet 1: expected"),
        (FORWARDING + "packet 1 " + SENT, f"port 5: a packet that is not expected: {SENT}"),
        (FORWARDING + "expect 5 " + SENT, "line 6: port 5: expected a packet, got none"),
        (FORWARDING + "add nowhere a:1 drop()", "line 6: no table 'nowhere'"),
        (FORWARDING + "add _table a:1 drop()", "line 6: table '_table': any of"),
        (FORWARDING + "add exact_table dst:1 port:1 mark()", "no action of table"),
        (FORWARDING + "add exact_table dst:1 port:1 forward(a:1)", "takes ['port'], not ['a']"),
        (FORWARDING + "add exact_table src:1 drop()", "no key 'src'"),
        (FORWARDING + "add exact_table dst:1 dst:2 drop()", "given twice"),
        (FORWARDING + "add exact_table dst:0x020000000001 port:1 drop()", "line 6: "),
        (FORWARDING + "add exact_table dst:1 port:0x200 drop()", "does not fit"),
        (FORWARDING + "mc_node_associate 1 0", "no group 1, or no node 0"),
        ("remove all", "line 1: 'remove'"),
        ("packet 1 0", "line 1: '0' are no whole bytes"),
        ("packet", "line 1: the line ends too early"),
        ("expect 1 0g", "line 1: '0g' is no pattern"),
        ("add t k:1 action", "no action with its arguments"),
        ("add t k:1 action(1)", "argument '1' has no name"),
        ("mirroring_add 1", "'mirroring_add' with 1 words"),
        ("mc_mgrp_create x", "line 1: invalid literal"),
    ],
)
def test_stf_that_differs_or_cannot_be_played_ends_with_1(play, text: str, words: str) -> None:  # type: ignore[no-untyped-def]
    status, said = play(CONTRACT, text)
    assert status == 1
    assert words in said


def test_stf_of_a_program_beyond_this_switch_ends_with_3_and_names_it(play, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    program = forwarding([["a", 8]])
    program.extra["extern_instances"] = [{"name": "thing", "id": 0}]
    config = tmp_path / "config.json"
    config.write_bytes(program.encode())
    status, said = play(config, "")
    assert status == 3
    assert "extern 'thing'" in said
    config.write_text("{}")
    assert play(config, "")[0] == 1
    assert play(tmp_path / "nowhere.json", "")[0] == 1


def _key(kind: ir.Match, width: int) -> ir.Key:
    return ir.Key("k", kind, ir.FieldRef("h", "f"), width)


@pytest.mark.parametrize(
    ("kind", "width", "text", "part"),
    [
        (ir.Match.EXACT, 16, "010", KeyPart(value=10)),
        (ir.Match.EXACT, 16, "0x0A", KeyPart(value=10)),
        (ir.Match.TERNARY, 32, "0x****0202", KeyPart(value=0x202, mask=0xFFFF)),
        (ir.Match.TERNARY, 32, "0x02", KeyPart(value=2, mask=0xFF)),
        (ir.Match.TERNARY, 8, "0b1*1*", KeyPart(value=0b1010, mask=0b1010)),
        (ir.Match.TERNARY, 8, "7", KeyPart(value=7, mask=0xFF)),
        (ir.Match.TERNARY, 6, "0xFF", KeyPart(value=0xFF, mask=0x3F)),
        (ir.Match.LPM, 32, "0x0a010065", KeyPart(value=0x0A010065, prefix_len=32)),
        (ir.Match.LPM, 32, "0x0a01****", KeyPart(value=0x0A010000, prefix_len=16)),
        (ir.Match.LPM, 32, "0x0a000000/8", KeyPart(value=0x0A000000, prefix_len=8)),
    ],
)
def test_stf_values_for_keys(kind: ir.Match, width: int, text: str, part: KeyPart) -> None:
    assert key_part(_key(kind, width), text) == part


def test_stf_is_read_whatever_its_blanks_and_case() -> None:
    assert parse("PACKET 3 aB c D\nexpect 2 A*$\nexpect 2 a $\n\n # x\nexpect 4") == [
        Packet(1, 3, b"\xab\xcd"),
        Expect(2, 2, "a*", True),
        Expect(3, 2, "a", True),
        Expect(6, 4, None, False),
    ]
    assert parse("add a.t 7 x$0.h:0x1 y.valid:1 do( a:1 ,b : 0x2)") == [
        Add(
            1,
            "a.t",
            7,
            (("x$0.h", "0x1"), ("y.valid", "1")),
            Call("do", (("a", "1"), ("b", "0x2"))),
        )
    ]
    with pytest.raises(StfError, match="line 2"):
        parse("wait\nwhat 1")
