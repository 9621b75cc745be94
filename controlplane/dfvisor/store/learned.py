"""Hosts that switches have learned: `/learned/<vn>/<switch>.<generation>`.

A record is written by the agent of its switch alone. A new one replaces the old under the next
generation's name, so one watch of the children tells a reader of every change, and it reads only
records whose name is new to it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address

import msgspec

from dfvisor.errors import StoreError
from dfvisor.model.learned import Claim, Claims, Ip
from dfvisor.model.types import Mac
from dfvisor.store import layout
from dfvisor.store.codec import decode, encode
from dfvisor.store.zk import Create, Delete, NodeExists, NoNode, Operation, ZooKeeper

_ATTEMPTS = 10


class LearnedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of one VN at one switch: MAC -> port and time of the claim; the addresses that each
    says to have, with the time since when; and why others were not believed.
    """

    hosts: dict[str, tuple[int, float]] = {}
    ips: dict[str, dict[str, float]] = {}
    conflicts: dict[str, str] = {}
    schema: int = 1


class LearnedStore:
    """Reads all switches' records of a VN, and writes those of one switch."""

    def __init__(self, zk: ZooKeeper) -> None:
        self._zk = zk
        self._held: dict[str, dict[str, LearnedRecord]] = {}  # VN -> node -> record

    async def publish(self, vn: str, switch: str, record: LearnedRecord) -> None:
        """Replace the switch's record; an empty one goes."""
        parent = f"{layout.LEARNED}/{vn}"
        for _ in range(_ATTEMPTS):
            await self._zk.ensure(parent)
            nodes = [n for n in await self._zk.children(parent) if _switch(n) == switch]
            newest = max(map(_generation, nodes), default=0)
            operations: list[Operation] = [Delete(f"{parent}/{node}") for node in nodes]
            if record.hosts or record.conflicts:
                # never a name that a reader may hold from before all was forgotten
                fresh = max(newest + 1, time.time_ns() // 1_000_000)
                operations.append(Create(f"{parent}/{switch}.{fresh}", encode(record)))
            if not operations:
                return
            with contextlib.suppress(NodeExists, NoNode):
                await self._zk.multi(operations)
                return
        raise StoreError(f"{parent}: somebody else reports the learned hosts of {switch}")

    async def read(
        self, vn: str, watch: Callable[[], None] | None = None
    ) -> Mapping[str, LearnedRecord]:
        """The records of a VN by switch. `watch` is called once when one changes."""
        parent = f"{layout.LEARNED}/{vn}"
        await self._zk.ensure(parent)
        held = self._held.get(vn, {})
        found: dict[str, LearnedRecord] = {}
        for node in await self._zk.children(parent, watch):
            if node in held:
                found[node] = held[node]
                continue
            try:
                data, _ = await self._zk.get(f"{parent}/{node}")
            except NoNode:
                continue  # replaced meanwhile: the watch tells
            found[node] = decode(data, LearnedRecord, f"{parent}/{node}")
        self._held[vn] = found
        return {_switch(node): found[node] for node in sorted(found, key=_generation)}


def claims(record: LearnedRecord) -> Claims:
    """The hosts of a record; what is no MAC or port is left out."""
    found: dict[Mac, Claim] = {}
    for text, (port, since) in record.hosts.items():
        with contextlib.suppress(ValueError):
            found[Mac.parse(text)] = Claim(port, since, _addresses(record.ips.get(text, {})))
    return found


def _addresses(said: Mapping[str, float]) -> dict[Ip, float]:
    found: dict[Ip, float] = {}
    for text, since in said.items():
        with contextlib.suppress(ValueError):
            found[ip_address(text)] = since
    return found


def _switch(node: str) -> str:
    return node.rpartition(".")[0]


def _generation(node: str) -> int:
    tail = node.rpartition(".")[2]
    return int(tail) if tail.isdecimal() else 0
