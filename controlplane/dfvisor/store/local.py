"""The local database: one SQLite file per agent and per VN controller. Synchronous and fast.

Holds what a daemon needs to come back alone: last snapshots, id allocations, a boot counter,
key/value. One transaction per call, in WAL mode with synchronous=NORMAL: survives kill -9 (power
loss would need FULL). Use from one thread.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from dfvisor.errors import StoreError
from dfvisor.model.description import merge, read, render
from dfvisor.model.records import Fabric, Network, VirtualNetwork

_SCHEMA = """
CREATE TABLE IF NOT EXISTS ids (
    kind TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
    PRIMARY KEY (kind, name), UNIQUE (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vns (
    name TEXT PRIMARY KEY, revision INTEGER NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class LocalDatabase:
    """Opens (or makes) the file at `path`; StoreError when it is no database."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def next_boot_id(self) -> int:
        """1, 2, 3, ...: larger than any returned before, persisted before it returns."""
        with _Transaction(self):
            boot_id = int(self.get("boot_id") or b"0") + 1
            self.put("boot_id", str(boot_id).encode())
        return boot_id

    # -- ids, per `kind` (for example "slice", "next_hop"), from 1 up

    def allocate(self, kind: str, name: str) -> int:
        """The id of `name`: the one it holds, or else the lowest that is free."""
        with _Transaction(self):
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

    def allocated(self, kind: str) -> dict[str, int]:
        """All ids of the kind, by name."""
        rows = self._db.execute("SELECT name, id FROM ids WHERE kind = ? ORDER BY id", (kind,))
        return {str(name): int(number) for name, number in rows}

    def release(self, kind: str, name: str) -> None:
        """Free the id; no error when `name` holds none."""
        self._db.execute("DELETE FROM ids WHERE kind = ? AND name = ?", (kind, name))

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

    def save_vn(self, revision: int, vn: VirtualNetwork) -> None:
        """Replace what is held of the VN."""
        record = msgspec.json.encode(render(Network(vns={vn.name: vn}))).decode()
        self._db.execute("INSERT OR REPLACE INTO vns VALUES (?, ?, ?)", (vn.name, revision, record))

    def load_vns(self) -> dict[str, tuple[int, VirtualNetwork]]:
        """Every VN held, with its revision."""
        rows = self._db.execute("SELECT name, revision, record FROM vns ORDER BY name").fetchall()
        return {
            str(name): (int(revision), self._read(record, name).vns[name])
            for name, revision, record in rows
        }

    def forget_vn(self, name: str) -> None:
        """Drop the VN; no error when it is not held."""
        self._db.execute("DELETE FROM vns WHERE name = ?", (name,))

    def _read(self, record: str, name: str) -> Network:
        description = read(record, as_json=True, locate=False)
        if description.problems:
            raise StoreError(f"{self._path}: {name}: {description.problems[0]}")
        return merge(Network(), description)

    # -- key/value

    def put(self, key: str, value: bytes) -> None:
        """Set or replace."""
        self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?)", (key, value))

    def get(self, key: str) -> bytes | None:
        """None where nothing was put."""
        found = self._one("SELECT value FROM items WHERE key = ?", key)
        return None if found is None else bytes(found)

    def drop(self, key: str) -> None:
        """Forget the key; no error when there is none."""
        self._db.execute("DELETE FROM items WHERE key = ?", (key,))

    def transaction(self) -> _Transaction:
        """`with db.transaction(): ...`: all calls inside become durable together, or none."""
        return _Transaction(self)

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
        if self._outer:
            self._db.execute("ROLLBACK" if kind else "COMMIT")
