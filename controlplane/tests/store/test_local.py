"""The local database."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from dfvisor.errors import StoreError
from dfvisor.model.description import load_network, render
from dfvisor.model.records import Network
from dfvisor.store.local import LocalDatabase
from hypothesis import given, settings
from hypothesis import strategies as st

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
FOREIGN = load_network(Path(__file__).parents[3] / "examples" / "foreign-peer.yaml")
KILLS = int(os.environ.get("DFVISOR_KILLS", "3"))


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
    db._db.execute("INSERT INTO held VALUES ('red', 1, '{\"vns\": {\"red\": 3}}', 0)")
    with pytest.raises(StoreError, match="red"):
        db.load_vns()


def test_record_of_a_vn_that_cannot_be_read_is_an_error(db: LocalDatabase) -> None:
    db.save_vn(1, DEMO.vns["red"])
    db._db.execute("UPDATE records SET data = '{}' WHERE kind = 'slices' AND name = 'gold'")
    with pytest.raises(StoreError, match=r"red.*slices\.gold: key is missing"):
        db.load_vns()


def test_only_the_difference_to_what_is_held_is_written(db: LocalDatabase) -> None:
    red = DEMO.vns["red"]
    flowspaces = dict(red.flowspaces)
    one = flowspaces.pop("gold-tcp")
    changed = replace(
        red,
        learning=True,
        flowspaces={**flowspaces, "new": msgspec.structs.replace(one, name="new")},
    )
    db.save_vn(1, red)
    before = db._db.total_changes
    db.save_vn(2, changed, before=(1, red))
    assert db._db.total_changes - before == 1 + 1 + 1, "one record, one deletion, one head"
    assert db.load_vns() == {"red": (2, changed)}
    db.save_vn(3, red, before=(1, red))  # not what is held: all is written
    assert db.load_vns() == {"red": (3, red)}
    (summary,) = db.summaries()
    assert (summary.name, summary.revision) == ("red", 3)
    assert summary.records["flowspaces"] == len(red.flowspaces)
    assert 0 <= time.time() - summary.saved < 60


def test_flows_are_kept_by_key(db: LocalDatabase) -> None:
    db.save_flows({b"a": b"1", b"b": b"2"})
    db.save_flows({b"a": None, b"b": b"3", b"c": b"4"})
    assert sorted(db.load_flows()) == [b"3", b"4"]
    db.replace_flows([(b"x", b"9")])
    assert list(db.load_flows()) == [b"9"]


def test_file_of_the_first_version_is_taken_over(file: Path) -> None:
    old = sqlite3.connect(file)
    old.execute("CREATE TABLE ids (kind TEXT, name TEXT, id INTEGER, PRIMARY KEY (kind, name))")
    old.execute("CREATE TABLE vns (name TEXT PRIMARY KEY, revision INTEGER, record TEXT)")
    old.execute("CREATE TABLE items (key TEXT PRIMARY KEY, value BLOB)")
    old.execute("INSERT INTO ids VALUES ('slice', 'red/gold', 7)")
    record = msgspec.json.encode(render(Network(vns={"red": DEMO.vns["red"]}))).decode()
    old.execute("INSERT INTO vns VALUES ('red', 4, ?)", (record,))
    old.commit()
    old.close()
    for _ in range(2):
        db = LocalDatabase(file)
        assert db.load_vns() == {"red": (4, DEMO.vns["red"])}
        assert db.allocated("slice") == {"red/gold": 7}
        db.close()


def test_file_of_a_newer_version_is_refused(file: Path) -> None:
    LocalDatabase(file).close()
    newer = sqlite3.connect(file)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreError, match="newer version"):
        LocalDatabase(file)


def test_damaged_file_is_moved_aside(file: Path) -> None:
    file.write_bytes(b"x" * 5000)
    db = LocalDatabase.open(file)
    assert db.next_boot_id() == 1
    db.close()
    (aside,) = file.parent.glob("agent.db.damaged-*")
    assert aside.read_bytes() == b"x" * 5000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


@pytest.mark.parametrize("trouble", ["full", "read-only"])
def test_disk_that_takes_no_writes_does_not_stop_it_and_is_healed(
    disk: Path, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = disk / "agent.db"
    db = LocalDatabase(file, detach=True)
    assert db.next_boot_id() == 1
    db.allocate("slice", "a")
    ballast: Path | None = None
    if trouble == "full":
        ballast = fill(disk)
    else:
        db.close()  # open for writing, it could not be remounted
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        db = LocalDatabase(file, detach=True)
    names = [f"n{number:04}-{'x' * 100}" for number in range(2000)]
    for name in names:
        db.allocate("slice", name)
    db.put("k", b"v" * 100_000)
    assert db.error
    assert ("full" in db.error) or ("readonly" in db.error) or ("unable to open" in db.error)
    assert "going on in memory" in caplog.text
    assert db.allocated("slice") == {"a": 1} | {name: n for n, name in enumerate(names, 2)}
    assert not db.heal()
    if ballast is not None:
        ballast.unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    subprocess.run(["mount", "-o", "remount,rw,size=16m", str(disk)], check=True)
    assert db.heal()
    assert db.error == ""
    db.close()
    again = LocalDatabase(file)
    assert again.allocated("slice") == {"a": 1} | {name: n for n, name in enumerate(names, 2)}
    assert again.get("k") == b"v" * 100_000
    again.close()


def test_healing_leaves_what_another_connection_has_written_meanwhile(disk: Path) -> None:
    file = disk / "agent.db"
    db = LocalDatabase(file, detach=True)
    for key in ("both", "theirs", "dropped", "left"):
        db.put(key, b"before")
    db.allocate("slice", "a")
    ballast = fill(disk)
    db.put("both", b"mine" * 100_000)
    db.drop("dropped")
    assert db.allocate("slice", "b") == 2
    assert db.error
    ballast.unlink()
    with contextlib.closing(LocalDatabase(file)) as other:
        for key in ("both", "theirs"):
            other.put(key, b"theirs")
    assert db.heal()
    with contextlib.closing(LocalDatabase(file)) as again:
        held = again.items("")
        assert held == {"both": b"mine" * 100_000, "theirs": b"theirs", "left": b"before"}
        assert again.allocated("slice") == {"a": 1, "b": 2}
    db.put("theirs", b"later")
    db.close()
    assert LocalDatabase(file).get("theirs") == b"later"


def test_disk_that_is_full_is_an_error_where_nothing_may_be_lost(disk: Path) -> None:
    db = LocalDatabase(disk / "agent.db")
    db.put("k", b"1")
    fill(disk)
    with pytest.raises(StoreError, match="full"):
        db.put("k", b"2" * 200_000)
    with pytest.raises(StoreError, match="full"), db.transaction():
        db.put("k", b"2" * 200_000)
    assert db.get("k") == b"1"
    db.close()


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
    for boot in range(1, KILLS + 1):
        child = subprocess.Popen(
            [sys.executable, "-c", writer, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == f"{boot}\n"
        said = [child.stdout.readline() for _ in range(70 + 17 * boot % 60)]
        child.send_signal(signal.SIGKILL)
        last = ([*said, *child.stdout.read().splitlines()])[-1]
        child.wait()
        db = LocalDatabase(file)
        held = db.get("n")
        assert held is not None
        assert int(held) >= int(last)
        assert sorted(db.allocated("slice").values()) == list(range(1, 51))
        db.close()


def test_kill_in_the_middle_leaves_one_whole_revision(file: Path) -> None:
    """What is held of a VN is of the revision that it says, whenever the writer dies."""
    writer = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from msgspec import structs\n"
        "from dfvisor.model.description import load_network\n"
        "from dfvisor.store.local import LocalDatabase\n"
        "red = load_network(sys.argv[2]).vns['red']\n"
        "one = red.flowspaces['gold-tcp']\n"
        "db = LocalDatabase(sys.argv[1])\n"
        "held = None\n"
        "for n in range(1, 10**6):\n"
        "    names = {f'f{n % 7}-{i}' for i in range(n % 40)}\n"
        "    flowspaces = {x: structs.replace(one, name=x) for x in names}\n"
        "    vn = replace(red, flood_pps=n, flowspaces=flowspaces)\n"
        "    db.save_vn(n, vn, before=held)\n"
        "    held = (n, vn)\n"
        "    print(n, flush=True)\n"
    )
    example = Path(__file__).parents[3] / "examples" / "demo.yaml"
    for number in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", writer, str(file), str(example)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(40 + 17 * number % 60)]
        child.send_signal(signal.SIGKILL)
        last = int(([*said, *child.stdout.read().splitlines()])[-1])
        child.wait()
        db = LocalDatabase(file)
        ((revision, vn),) = db.load_vns().values()
        db.close()
        assert revision in (last, last + 1)
        assert vn.flood_pps == revision
        assert vn.flowspaces.keys() == {f"f{revision % 7}-{i}" for i in range(revision % 40)}
