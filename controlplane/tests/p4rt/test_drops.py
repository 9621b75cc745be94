"""The reasons to drop and to punt are those of the P4 program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dfvisor.p4rt.drops import REASON_BITS, DropReason, PuntReason, drop_cell

CONSTANTS = Path(__file__).parents[3] / "p4src" / "constants.p4"


@pytest.mark.parametrize("reasons", [DropReason, PuntReason])
def test_reasons_are_those_of_the_program(reasons: type[DropReason] | type[PuntReason]) -> None:
    text = CONSTANTS.read_text()
    name = reasons.__name__
    body = re.search(rf"enum bit<\d+> {name} \{{(.*?)\n\}}", text, re.DOTALL)
    assert body is not None
    found = {label: int(value) for label, value in re.findall(r"(\w+) = (\d+)", body[1])}
    assert found.pop("NONE") == 0
    assert found == {reason.name: reason.value for reason in reasons}


def test_drop_cells_are_as_wide_as_the_program_has_them() -> None:
    text = CONSTANTS.read_text()
    assert f"#define DROP_REASON_BITS {REASON_BITS}\n" in text


def test_drop_cell_is_indexed_by_slice_and_reason() -> None:
    assert drop_cell(3, DropReason.NO_ROUTE) == 3 * 64 + 18
