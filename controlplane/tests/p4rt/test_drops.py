"""The drop reasons are those of the P4 program."""

from __future__ import annotations

import re
from pathlib import Path

from dfvisor.p4rt.drops import REASON_BITS, DropReason, drop_cell

CONSTANTS = Path(__file__).parents[3] / "p4src" / "constants.p4"


def test_drop_reasons_are_those_of_the_program() -> None:
    text = CONSTANTS.read_text()
    body = re.search(r"enum bit<\d+> DropReason \{(.*?)\}", text, re.DOTALL)
    assert body is not None
    found = {name: int(value) for name, value in re.findall(r"(\w+) = (\d+)", body[1])}
    assert found.pop("NONE") == 0
    assert found == {reason.name: reason.value for reason in DropReason}
    assert f"#define DROP_REASON_BITS {REASON_BITS}\n" in text


def test_drop_cell_is_indexed_by_slice_and_reason() -> None:
    assert drop_cell(3, DropReason.NO_ROUTE) == 3 * 32 + 18
