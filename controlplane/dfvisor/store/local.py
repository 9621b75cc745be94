"""The local database: one SQLite file per agent and per VN controller. Synchronous and fast.

Holds what a daemon needs to come back alone: last snapshots, id allocations, a boot counter, flow
entries, key/value. One transaction per call, in WAL mode with synchronous=NORMAL: survives kill -9
(power loss would need FULL). Use from one thread.

A file that cannot be written (full or read-only disk) must not stop a daemon: then what is in it is
copied into memory, the daemon goes on with that, and `error` says so until `heal` succeeds.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from dfvisor.errors import StoreError
from dfvisor.model.description import merge, read, render
from dfvisor.model.records import Fabric, Network, VirtualNetwork
from dfvisor.store.codec import (
    Key,
    Record,
    assemble,
    decode_records,
    encode_record,
    records_of,
    settings_of,
)
from dfvisor.store.deltas import difference

log = logging.getLogger(__name__)

T = TypeVar("T")

_NOT_WRITABLE = " (its directory is read-only)"
_VERSION = 2
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS ids (
    kind TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
    PRIMARY KEY (kind, name), UNIQUE (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS held (
    name TEXT PRIMARY KEY, revision INTEGER NOT NULL, settings TEXT NOT NULL, saved REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS records (
    vn TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (vn, kind, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS flows (key BLOB PRIMARY KEY, entity BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""

Held = tuple[int, VirtualNetwork]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A VN held: its revision, when it was saved (seconds since the epoch), records by kind."""

    name: str
    revision: int
    saved: float
    records: dict[str, int]


class LocalDatabase:
    """Opens (or makes) the file at `path`; StoreError when it is no database.

    `detach`: go on in memory when the file cannot be written; otherwise that is a StoreError.
    """

    def __init__(self, path: Path | str, *, detach: bool = False) -> None:
        self._path = str(path)
        self._detach_allowed = detach
        self.error = ""
        self._set_in_memory: set[str] = set()  # keys that the file has to be given
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._set_up()
            except sqlite3.OperationalError as error:
                if not detach:
                    raise
                self._detach(error)
                self._set_up()
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> StoreError:
        """SQLite does not say why it cannot open its files."""
        writable = os.access(Path(self._path).parent, os.W_OK)
        return StoreError(f"{self._path}: {error}{'' if writable else _NOT_WRITABLE}")

    def _set_up(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise StoreError(f"{self._path}: made by a newer version of this program ({version})")
        if version != _VERSION:
            self._db.executescript(_SCHEMA)
            self._take_over()

    def _take_over(self) -> None:
        """VNs as the first version kept them."""
        found = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'vns'").fetchone()
        if found is None:
            return
        rows = self._db.execute("SELECT name, revision, record FROM vns").fetchall()
        for name, revision, record in rows:
            self.save_vn(int(revision), self._read(record, name).vns[name])
        self._db.execute("DROP TABLE vns")

    @classmethod
    def open(cls, path: Path) -> Self:
        """For a daemon, which has to start: a file that is damaged is moved aside."""
        try:
            return cls(path, detach=True)
        except StoreError as error:
            if not path.exists():
                raise
            aside = path.with_name(f"{path.name}.damaged-{time.time():.0f}")
            log.error("%s; moved to %s, starting without it", error, aside.name)
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
            return cls(path, detach=True)

    @classmethod
    def reading(cls, path: Path) -> Self:
        """To look at a file whose daemon may be running; StoreError if there is none."""
        if not path.exists():
            raise StoreError(f"{path}: there is no such file")
        return cls(path)

    def close(self) -> None:
        self._db.close()

    # -- trouble with the file

    def _detach(self, error: sqlite3.Error) -> None:
        """Go on with a copy in memory."""
        self.error = f"{self._trouble(error)}; going on in memory"
        log.error("local database: %s", self.error)
        memory = sqlite3.connect(":memory:", isolation_level=None)
        source = self._db
        with contextlib.suppress(sqlite3.Error):
            if source.in_transaction:
                source.execute("ROLLBACK")
        try:
            source.backup(memory)
        except sqlite3.Error:  # WAL on a disk that takes no writes: read what there is
            memory.close()
            memory = sqlite3.connect(":memory:", isolation_level=None)
            with contextlib.closing(
                sqlite3.connect(f"file:{self._path}?mode=ro&immutable=1", uri=True)
            ) as still:
                still.backup(memory)
        source.close()
        self._db = memory

    def heal(self) -> bool:
        """After going on in memory: try to bring the file up to date. Whether all is well.

        Another connection may have written to it meanwhile: ids are all as they are here, of
        key/value pairs those that were set or dropped since, and the rest is left alone.
        """
        if not self.error:
            return True
        try:
            file = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
            try:
                file.execute("PRAGMA journal_mode=WAL")
                file.execute("PRAGMA synchronous=NORMAL")
                file.executescript(_SCHEMA)
                file.execute("BEGIN IMMEDIATE")
                rows = self._db.execute("SELECT kind, name, id FROM ids").fetchall()
                file.execute("DELETE FROM ids")
                file.executemany("INSERT INTO ids VALUES (?, ?, ?)", rows)
                for key in self._set_in_memory:
                    value = self.get(key)
                    if value is None:
                        file.execute("DELETE FROM items WHERE key = ?", (key,))
                    else:
                        file.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (key, value))
                file.execute("COMMIT")
            except BaseException:
                file.close()
                raise
        except sqlite3.Error as error:
            log.debug("local database: still not: %s", error)
            return False
        self._db.close()
        self._db = file
        self.error = ""
        self._set_in_memory.clear()
        log.info("local database: %s is written again", self._path)
        return True

    def _change(self, work: Callable[[], T]) -> T:
        """Do the work in one transaction; in memory, if the file cannot be written."""
        if self._db.in_transaction:
            return work()
        try:
            with _Transaction(self):
                return work()
        except sqlite3.Error as error:
            if not self._detach_allowed or self.error:
                raise self._trouble(error) from error
            self._detach(error)
        with _Transaction(self):
            return work()

    def next_boot_id(self) -> int:
        """1, 2, 3, ...: larger than any returned before, persisted before it returns."""

        def work() -> int:
            boot_id = int(self.get("boot_id") or b"0") + 1
            self.put("boot_id", str(boot_id).encode())
            return boot_id

        return self._change(work)

    # -- ids, per `kind` (for example "slice", "next_hop"), from 1 up

    def allocate(self, kind: str, name: str) -> int:
        """The id of `name`: the one it holds, or else the lowest that is free."""

        def work() -> int:
            held = self._one("SELECT id FROM ids WHERE kind = ? AND name = ?", kind, name)
            if held is not None:
                return int(held)
            free = self._one(
                "SELECT min(n) FROM (SELECT 1 AS n UNION ALL "
                "SELECT id + 1 FROM ids WHERE kind = ?1) "
                "WHERE n NOT IN (SELECT id FROM ids WHERE kind = ?1)",
                kind,
            )
            self._db.execute("INSERT INTO ids VALUES (?, ?, ?)", (kind, name, free))
            return int(free)

        return self._change(work)

    def allocated(self, kind: str) -> dict[str, int]:
        """All ids of the kind, by name."""
        rows = self._db.execute("SELECT name, id FROM ids WHERE kind = ? ORDER BY id", (kind,))
        return {str(name): int(number) for name, number in rows}

    def release(self, kind: str, name: str) -> None:
        """Free the id; no error when `name` holds none."""
        self._run("DELETE FROM ids WHERE kind = ? AND name = ?", kind, name)

    # -- last snapshots

    def save_fabric(self, revision: int, fabric: Fabric) -> None:
        """Replace the fabric held."""
        record = msgspec.json.encode(render(Network(fabric=fabric)))
        self.put("fabric", str(revision).encode() + b" " + record)

    def load_fabric(self) -> tuple[int, Fabric] | None:
        """The fabric last saved and its revision."""
        held = self.get("fabric")
        if held is None:
            return None
        revision, _, record = held.partition(b" ")
        found = self._read(record.decode(), "fabric")
        return int(revision), found.fabric

    def save_vn(self, revision: int, vn: VirtualNetwork, before: Held | None = None) -> None:
        """Replace what is held of the VN. If that is `before`, only the difference is written."""
        settings = settings_of(vn)
        if before is not None:
            change = difference(before[1], vn)
            if self.save_change(revision, settings, change, since=before[0]):
                return
        self.save_change(revision, settings, dict(records_of(vn)), since=None)

    def save_change(
        self,
        revision: int,
        settings: VirtualNetwork,
        change: Mapping[Key, Record | None],
        *,
        since: int | None,
    ) -> bool:
        """Replace what is held of the VN: by this change of revision `since`, or (None) by these
        records. False, and nothing written, where another revision is held.
        """

        def work() -> bool:
            name = settings.name
            if since is None:
                self._db.execute("DELETE FROM records WHERE vn = ?", (name,))
            elif self._one("SELECT revision FROM held WHERE name = ?", name) != since:
                return False
            gone = [(name, *key) for key, record in change.items() if record is None]
            rows = [
                (name, *key, encode_record(record))
                for key, record in change.items()
                if record is not None
            ]
            self._db.executemany("DELETE FROM records WHERE vn = ? AND kind = ? AND name = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", rows)
            plain = render(Network(vns={name: settings}))
            self._db.execute(
                "INSERT OR REPLACE INTO held VALUES (?, ?, ?, ?)",
                (name, revision, msgspec.json.encode(plain).decode(), time.time()),
            )
            return True

        return self._change(work)

    def load_vns(self) -> dict[str, Held]:
        """Every VN held, with its revision; StoreError names the first that cannot be read."""
        rows = self._db.execute("SELECT name, revision, settings FROM held ORDER BY name")
        return {
            str(name): (int(revision), self._assemble(str(name), settings))
            for name, revision, settings in rows.fetchall()
        }

    def _assemble(self, name: str, settings: str) -> VirtualNetwork:
        kinds: dict[str, dict[str, Any]] = {}
        for kind, label, data in self._db.execute(
            "SELECT kind, name, data FROM records WHERE vn = ?", (name,)
        ):
            try:
                kinds.setdefault(kind, {})[label] = msgspec.json.decode(data)
            except msgspec.DecodeError as error:
                raise StoreError(f"{self._path}: {name}: {kind}.{label}: {error}") from error
        own = self._read(settings, name).vns[name]
        return assemble(own, decode_records(kinds, f"{self._path}: {name}").items())

    def summaries(self) -> list[Summary]:
        """What is held of VNs, without reading it all."""
        found: list[Summary] = []
        for name, revision, saved in self._db.execute(
            "SELECT name, revision, saved FROM held ORDER BY name"
        ).fetchall():
            counts = self._db.execute(
                "SELECT kind, count(*) FROM records WHERE vn = ? GROUP BY kind", (name,)
            )
            found.append(
                Summary(
                    name=str(name),
                    revision=int(revision),
                    saved=float(saved),
                    records={str(kind): int(count) for kind, count in counts},
                )
            )
        return found

    def forget_vn(self, name: str) -> None:
        """Drop the VN; no error when it is not held."""

        def work() -> None:
            self._db.execute("DELETE FROM held WHERE name = ?", (name,))
            self._db.execute("DELETE FROM records WHERE vn = ?", (name,))

        self._change(work)

    def _read(self, record: str, name: str) -> Network:
        description = read(record, as_json=True, locate=False)
        if description.problems:
            raise StoreError(f"{self._path}: {name}: {description.problems[0]}")
        return merge(Network(), description)

    # -- flow entries on the switch, as bytes by key

    def save_flows(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Set, or with None delete."""

        def work() -> None:
            gone = [(key,) for key, entity in changes.items() if entity is None]
            rows = [(key, entity) for key, entity in changes.items() if entity is not None]
            self._db.executemany("DELETE FROM flows WHERE key = ?", gone)
            self._db.executemany("INSERT OR REPLACE INTO flows VALUES (?, ?)", rows)

        self._change(work)

    def replace_flows(self, flows: Iterable[tuple[bytes, bytes]]) -> None:
        """These and no others."""

        def work() -> None:
            self._db.execute("DELETE FROM flows")
            self._db.executemany("INSERT OR REPLACE INTO flows VALUES (?, ?)", list(flows))

        self._change(work)

    def load_flows(self) -> Iterator[bytes]:
        """All of them."""
        for (entity,) in self._db.execute("SELECT entity FROM flows").fetchall():
            yield bytes(entity)

    # -- key/value

    def put(self, key: str, value: bytes) -> None:
        """Set or replace."""
        self._run("INSERT OR REPLACE INTO items VALUES (?, ?)", key, value)
        self._changed_item(key)

    def get(self, key: str) -> bytes | None:
        """None where nothing was put."""
        found = self._one("SELECT value FROM items WHERE key = ?", key)
        return None if found is None else bytes(found)

    def items(self, prefix: str) -> dict[str, bytes]:
        """All whose keys begin with the prefix, by what follows it."""
        rows = self._db.execute(
            "SELECT key, value FROM items WHERE substr(key, 1, ?) = ?", (len(prefix), prefix)
        )
        return {str(key)[len(prefix) :]: bytes(value) for key, value in rows}

    def drop(self, key: str) -> None:
        """Forget the key; no error when there is none."""
        self._run("DELETE FROM items WHERE key = ?", key)
        self._changed_item(key)

    def _changed_item(self, key: str) -> None:
        if self.error:
            self._set_in_memory.add(key)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """`with db.transaction(): ...`: all calls inside become durable together, or none."""
        try:
            with _Transaction(self):
                yield
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _run(self, statement: str, *arguments: object) -> None:
        self._change(lambda: self._db.execute(statement, arguments))

    def _one(self, query: str, *arguments: object) -> Any:
        row = self._db.execute(query, arguments).fetchone()
        return None if row is None else row[0]


class _Transaction:
    """BEGIN IMMEDIATE ... COMMIT, or ROLLBACK on an exception; an inner one joins the outer."""

    def __init__(self, database: LocalDatabase) -> None:
        self._db = database._db
        self._outer = False

    def __enter__(self) -> None:
        self._outer = not self._db.in_transaction
        if self._outer:
            self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if not self._outer:
            return
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")
