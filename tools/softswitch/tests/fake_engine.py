"""A data plane without packets, for tests of the P4Runtime server: it stores what it is given.

Same interface and errors as `softswitch.engine.Engine`; `test_server_contract.py` runs the same
tests on both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from softswitch.engine import KeyPart
from softswitch.errors import (
    ConfigError,
    DuplicateEntryError,
    EntryError,
    TableFullError,
    UnknownNameError,
)


@dataclass(slots=True)
class FakeEntry:
    key: tuple[KeyPart, ...]
    priority: int
    action: str
    args: tuple[int, ...]
    packets: int = 0
    bytes: int = 0


@dataclass(slots=True)
class FakeTable:
    size: int
    actions: dict[str, int]
    entries: dict[int, FakeEntry] = field(default_factory=dict)
    default: tuple[str, tuple[int, ...]] | None = None


class FakeEngine:
    """Keeps entries, counters and groups; `running` and `ports` tell what the server did.

    `others` are the engines that must not run at the same time.
    """

    def __init__(self, bmv2_json: bytes) -> None:
        try:
            config = json.loads(bmv2_json)
        except ValueError as error:
            raise ConfigError(str(error), "$") from error
        params: dict[int, Any] = {a["id"]: len(a["runtime_data"]) for a in config["actions"]}
        self.tables = {
            table["name"]: FakeTable(
                size=table["max_size"],
                actions={
                    name: params[number]
                    for name, number in zip(table["actions"], table["action_ids"], strict=True)
                },
            )
            for pipeline in config["pipelines"]
            for table in pipeline["tables"]
        }
        self.counters = {
            array["name"]: [(0, 0)] * array["size"]
            for array in config["counter_arrays"]
            if not array["is_direct"]
        }
        self.groups: dict[int, tuple[tuple[int, int], ...]] = {}
        self.ports: dict[int, str] = {}
        self.running = False
        self.closed = False
        self.others: list[FakeEngine] = []
        self._next_handle = 1

    def _call(self, table: str, action: str, args: Sequence[int]) -> FakeTable:
        found = self.tables.get(table)
        if found is None:
            raise UnknownNameError(f"no table {table}")
        if action not in found.actions:
            raise UnknownNameError(f"table {table} has no action {action}")
        if len(args) != found.actions[action]:
            raise EntryError(f"action {action} takes {found.actions[action]} arguments")
        return found

    def _entry(self, table: str, handle: int) -> FakeEntry:
        assert not self.closed
        found = self.tables[table].entries.get(handle)
        if found is None:
            raise UnknownNameError(f"table {table} has no entry {handle}")
        return found

    def insert(
        self, table: str, key: Sequence[KeyPart], priority: int, action: str, args: Sequence[int]
    ) -> int:
        found = self._call(table, action, args)
        if len(found.entries) >= found.size:
            raise TableFullError(f"table {table} is full")
        parts = tuple(key)
        if any(e.key == parts and e.priority == priority for e in found.entries.values()):
            raise DuplicateEntryError(f"table {table} has this entry")
        handle = self._next_handle
        self._next_handle += 1
        found.entries[handle] = FakeEntry(parts, priority, action, tuple(args))
        return handle

    def modify(self, table: str, handle: int, action: str, args: Sequence[int]) -> None:
        self._call(table, action, args)
        entry = self._entry(table, handle)
        entry.action, entry.args = action, tuple(args)

    def delete(self, table: str, handle: int) -> None:
        self._entry(table, handle)
        del self.tables[table].entries[handle]

    def set_default(self, table: str, action: str, args: Sequence[int]) -> None:
        self._call(table, action, args).default = (action, tuple(args))

    def reset_default(self, table: str) -> None:
        self.tables[table].default = None

    def direct_counter(self, table: str, handle: int) -> tuple[int, int]:
        entry = self._entry(table, handle)
        return entry.packets, entry.bytes

    def set_direct_counter(self, table: str, handle: int, packets: int, bytes_: int) -> None:
        entry = self._entry(table, handle)
        entry.packets, entry.bytes = packets, bytes_

    def counter_read(self, counter: str, first: int, count: int) -> list[tuple[int, int]]:
        assert not self.closed
        return self.counters[counter][first : first + count]

    def counter_write(self, counter: str, index: int, packets: int, bytes_: int) -> None:
        self.counters[counter][index] = (packets, bytes_)

    def multicast_set(self, group: int, replicas: Sequence[tuple[int, int]]) -> None:
        self.groups[group] = tuple(replicas)

    def multicast_delete(self, group: int) -> None:
        del self.groups[group]

    def add_port(self, port: int, ifname: str) -> None:
        self.ports[port] = ifname

    def start(self) -> None:
        assert not self.closed
        assert not any(other.running for other in self.others), "two engines have the ports"
        self.running = True

    def stop(self) -> None:
        self.running = False
        self.ports.clear()

    def close(self) -> None:
        self.stop()
        self.closed = True
