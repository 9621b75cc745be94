"""Numbers survive, and are given again only after their release."""

from __future__ import annotations

from pathlib import Path

import pytest
from dfvisor.agent import numbers as module
from dfvisor.agent.numbers import Kind, LocalNumbers, NumbersExhausted
from dfvisor.store.local import LocalDatabase


def test_number_is_the_same_after_a_restart(tmp_path: Path) -> None:
    local = LocalDatabase(tmp_path / "db")
    first = LocalNumbers(local)
    given = {name: first.number(Kind.SLICE, name) for name in ("a/x", "a/y", "b/x")}
    first.release(Kind.SLICE, lambda name: name == "a/y")
    local.close()
    local = LocalDatabase(tmp_path / "db")
    again = LocalNumbers(local)
    assert again.held(Kind.SLICE) == {"a/x": given["a/x"], "b/x": given["b/x"]}
    assert again.number(Kind.SLICE, "a/x") == given["a/x"]
    assert again.number(Kind.SLICE, "new") == given["a/y"]
    assert again.number(Kind.VN, "new") == 1
    local.close()


def test_number_when_none_is_left_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.HIGHEST, Kind.SLICE, 2)
    local = LocalDatabase(tmp_path / "db")
    numbers = LocalNumbers(local)
    assert [numbers.number(Kind.SLICE, name) for name in "ab"] == [1, 2]
    with pytest.raises(NumbersExhausted, match="all 2 numbers"):
        numbers.number(Kind.SLICE, "c")
    numbers.release(Kind.SLICE, lambda name: name == "a")
    assert numbers.number(Kind.SLICE, "c") == 1
    local.close()
