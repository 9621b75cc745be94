"""The local database."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dfvisor.errors import StoreError
from dfvisor.model.description import load_network
from dfvisor.store.local import LocalDatabase
from hypothesis import given, settings
from hypothesis import strategies as st

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
FOREIGN = load_network(Path(__file__).parents[3] / "examples" / "foreign-peer.yaml")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"


@pytest.fixture
def db(file: Path) -> Iterator[LocalDatabase]:
    found = LocalDatabase(file)
    yield found
    found.close()


def test_boot_ids_rise_across_openings(file: Path) -> None:
    found = []
    for _ in range(3):
        db = LocalDatabase(file)
        found.append(db.next_boot_id())
        db.close()
    assert found == [1, 2, 3]


def test_allocation_is_stable_and_survives(db: LocalDatabase, file: Path) -> None:
    assert [db.allocate("slice", name) for name in "abca"] == [1, 2, 3, 1]
    again = LocalDatabase(file)
    assert again.allocated("slice") == {"a": 1, "b": 2, "c": 3}
    assert again.allocate("slice", "d") == 4
    again.close()


def test_released_id_is_given_again_lowest_first(db: LocalDatabase) -> None:
    for name in "abcd":
        db.allocate("slice", name)
    db.release("slice", "c")
    db.release("slice", "a")
    db.release("slice", "unknown")
    assert [db.allocate("slice", name) for name in "efg"] == [1, 3, 5]


def test_kinds_count_alone(db: LocalDatabase) -> None:
    assert db.allocate("slice", "a") == db.allocate("next_hop", "b") == 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=40))
def test_ids_are_unique_dense_and_stable(steps: list[tuple[bool, str]]) -> None:
    db = LocalDatabase(":memory:")
    held: dict[str, int] = {}
    for take, name in steps:
        if take:
            free = min(set(range(1, 10)) - set(held.values()))
            assert db.allocate("k", name) == held.setdefault(name, free)
        else:
            db.release("k", name)
            held.pop(name, None)
        assert db.allocated("k") == held
    db.close()


def test_snapshots_survive(db: LocalDatabase, file: Path) -> None:
    assert db.load_fabric() is None
    assert db.load_vns() == {}
    for revision in (1, 2):
        db.save_fabric(revision, DEMO.fabric)
        for vn in DEMO.vns.values():
            db.save_vn(revision, vn)
    db.forget_vn("green")
    db.forget_vn("unknown")
    again = LocalDatabase(file)
    assert again.load_fabric() == (2, DEMO.fabric)
    again.save_fabric(3, FOREIGN.fabric)
    assert again.load_fabric() == (3, FOREIGN.fabric)
    assert again.load_vns() == {name: (2, DEMO.vns[name]) for name in ("blue", "red")}
    again.close()


def test_items_are_kept(db: LocalDatabase) -> None:
    assert db.get("k") is None
    db.put("k", b"\x00\xff")
    db.put("k", b"2")
    assert db.get("k") == b"2"
    db.drop("k")
    assert db.get("k") is None


def test_transaction_that_fails_leaves_nothing(db: LocalDatabase) -> None:
    with pytest.raises(ValueError, match="no"), db.transaction():
        db.put("k", b"1")
        db.allocate("slice", "a")
        raise ValueError("no")
    assert db.get("k") is None
    assert db.allocated("slice") == {}


def test_file_that_is_no_database_is_refused(file: Path) -> None:
    file.write_bytes(b"x" * 5000)
    with pytest.raises(StoreError, match="not a database"):
        LocalDatabase(file)


def test_record_that_cannot_be_read_is_an_error(db: LocalDatabase) -> None:
    db._db.execute("INSERT INTO vns VALUES ('red', 1, '{\"vns\": {\"red\": 3}}')")
    with pytest.raises(StoreError, match="red"):
        db.load_vns()


def test_kill_in_the_middle_loses_nothing_that_was_said(file: Path) -> None:
    writer = (
        "import sys\n"
        "from dfvisor.store.local import LocalDatabase\n"
        "db = LocalDatabase(sys.argv[1])\n"
        "print(db.next_boot_id(), flush=True)\n"
        "for n in range(10**6):\n"
        "    db.allocate('slice', f's{n % 50}')\n"
        "    db.put('n', str(n).encode())\n"
        "    print(n, flush=True)\n"
    )
    for boot in range(1, 4):
        child = subprocess.Popen(
            [sys.executable, "-c", writer, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == f"{boot}\n"
        said = [child.stdout.readline() for _ in range(100)]
        child.send_signal(signal.SIGKILL)
        last = ([*said, *child.stdout.read().splitlines()])[-1]
        child.wait()
        db = LocalDatabase(file)
        held = db.get("n")
        assert held is not None
        assert int(held) >= int(last)
        assert sorted(db.allocated("slice").values()) == list(range(1, 51))
        db.close()
