"""The generated reference of the P4 program."""

from __future__ import annotations

from pathlib import Path

import p4reference
import pytest
from dfvisor.p4rt.drops import DropReason
from dfvisor.p4rt.pb import p4i, text_format
from p4reference import IncompleteSources, current_page, main, read_comments, render

LEDGER = """
#define TABLE_T 0x02000001
#define ACTION_A 0x01000001
"""
ENUMS = """
enum bit<6> DropReason {
    NONE = 0,
    NO_LUCK = 1 // none left
}
enum bit<8> PuntReason {
    TIRED = 1 // wants to go home
}
"""
TABLE = """
    // Does it.
    @id(ACTION_A) @name(".a")
    action a(@id(1) bit<8> x) {}

    // %s
    @id(TABLE_T) @name(".t")
    table t {
"""
INFO = """
tables {
  preamble { id: 33554433 name: "t" }
  match_fields { id: 1 name: "k" bitwidth: 9 match_type: LPM }
  action_refs { id: 16777217 }
  size: 77
}
actions { preamble { id: 16777217 name: "a" } params { id: 1 name: "x" bitwidth: 8 } }
"""


def page(contract: str, enums: str = ENUMS) -> str:
    comments = read_comments([LEDGER, enums, TABLE % contract])
    return render(text_format.Parse(INFO, p4i.P4Info()), comments)


def test_committed_page_is_current() -> None:
    assert main(["--check"]) == 0, "make docs writes it anew"


def test_page_that_is_not_current_is_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(p4reference, "PAGE", tmp_path / "page.md")
    assert main(["--check"]) == 1
    assert "+# The P4 program's interface" in capsys.readouterr().err
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "page.md").write_text(current_page().replace("65536", "65537"))
    assert main(["--check"]) == 1


def test_page_names_every_object_of_the_program() -> None:
    info = text_format.Parse(p4reference.P4INFO.read_text(), p4i.P4Info())
    found = current_page()
    for objects in (info.tables, info.actions, info.counters, info.meters, info.action_profiles):
        for one in objects:
            assert f"`{one.preamble.name}`" in found or one.preamble.name == "NoAction"
    for reason in DropReason:
        assert f"| {reason.value} | `{reason.name}` |" in found or not reason.value


def test_table_shows_contract_key_and_actions() -> None:
    found = page("Written by the agent, daily. A miss is dropped: NO_LUCK.")
    assert "| [`t`](#t) | 0x02000001 | `k` | 77 | the agent |" in found
    assert "Written by the agent, daily. A miss is dropped: `NO_LUCK`.\n" in found
    assert "| `k` | 1 | 9 | lpm |" in found
    assert "| `a` | 0x01000001 | `x` (8) | Does it. |" in found
    assert "| 1 | `NO_LUCK` | none left |" in found
    assert "| 1 | `TIRED` | wants to go home |" in found


@pytest.mark.parametrize(
    ("contract", "enums", "complaint"),
    [
        ("A miss is dropped.", ENUMS, "table t: its comment does not say who writes it"),
        ("Written by the agent.", ENUMS, "table t: its comment does not say what a miss means"),
        ("Written by us. A miss?", ENUMS.replace("// none left", ""), "DropReason.NO_LUCK: has no"),
        ("Written by us. A miss?", ENUMS.replace("PuntReason", "X"), "enum PuntReason is missing"),
    ],
)
def test_source_that_says_too_little_is_refused(contract: str, enums: str, complaint: str) -> None:
    with pytest.raises(IncompleteSources) as caught:
        page(contract, enums)
    assert complaint in str(caught.value)
