"""The project's P4Runtime client, one step after the other: each call returns when done.

The asyncio client runs on a loop in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from dfvisor.errors import SwitchError
from dfvisor.p4rt.client import CountedEntry, CounterValue, P4RuntimeClient
from dfvisor.p4rt.entries import Item, diff, rank
from dfvisor.p4rt.p4info import Schema

Result = TypeVar("Result")

ATTEMPT_S = 0.2
CALL_TIMEOUT_S = 120.0


class SwitchClient:
    """The primary of one switch. Raises what the asyncio client raises."""

    def __init__(self, address: str, device_id: int, schema: Schema, election: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="p4rt", daemon=True)
        self._thread.start()
        self.schema = schema
        self._client = self._run(self._open(address, device_id, election))

    async def _open(self, address: str, device_id: int, election: int) -> P4RuntimeClient:
        client = P4RuntimeClient(address, device_id, election_id=(0, election), schema=self.schema)
        await client.connect()
        await client.become_primary()
        return client

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    def close(self) -> None:
        """End the connection and its thread."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        await self._client.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*rest, return_exceptions=True)

    def push_pipeline(self, device_config: bytes) -> None:
        """Load a pipeline: the switch's tables are empty afterwards."""
        self._run(self._client.set_pipeline(self.schema, device_config, 1))

    def insert(self, *items: Item) -> None:
        """Insert entries and groups, those that are referred to first. Default entries are set."""
        ordered = sorted(items, key=rank)
        self._run(
            self._client.write(
                [
                    self.schema.modify(item)
                    if getattr(item, "is_default", False)
                    else self.schema.insert(item)
                    for item in ordered
                ]
            )
        )

    def modify(self, *items: Item) -> None:
        """Replace the actions of entries, or the replicas of groups, that exist."""
        self._run(self._client.write([self.schema.modify(item) for item in items]))

    def delete(self, *items: Item) -> None:
        """Delete entries and groups, those that refer to others first."""
        ordered = sorted(items, key=rank, reverse=True)
        self._run(self._client.write([self.schema.delete(item) for item in ordered]))

    def items(self) -> list[Item]:
        """All entries but default ones, and all groups, read from the switch."""
        entries: Sequence[Item] = self._run(self._client.read_entries())
        groups: Sequence[Item] = self._run(self._client.read_multicast())
        return [*entries, *groups]

    def clear(self) -> None:
        """Delete all entries but default ones, and all groups."""
        left = diff(self.items(), ()).deletes
        if left:
            self.delete(*left)

    def direct(self, *tables: str) -> list[CountedEntry]:
        """Entries of the tables with their direct counters."""
        return self._run(self._client.read_direct(*tables))

    def cells(self, counter: str, indexes: Iterable[int]) -> dict[int, CounterValue]:
        """Cells of a counter array, by index."""
        return self._run(self._client.read_counters(counter, indexes))


def await_server(address: str, timeout_s: float, alive: Callable[[], bool]) -> None:
    """Return when a server accepts connections; RuntimeError when `alive` says no, or too late."""
    asyncio.run(_await_server(address, timeout_s, alive))


async def _await_server(address: str, timeout_s: float, alive: Callable[[], bool]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while True:
        client = P4RuntimeClient(address, 1)
        try:
            await client.connect(ATTEMPT_S)
        except SwitchError as error:
            if not alive():
                raise RuntimeError("the switch ended before it served P4Runtime") from error
            if loop.time() > deadline:
                raise RuntimeError(f"no P4Runtime at {address} after {timeout_s} s") from error
        else:
            return
        finally:
            await client.close()
