"""What a role reads: its own entries, from the mirror; their direct counters, from the switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import grpc

from dfvisor.p4rt.entries import EntryKey, TableEntry, entry_key
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SwitchPort
from dfvisor.slicer.mirror import Mirror
from dfvisor.slicer.refusal import Refused, denied
from dfvisor.slicer.translate import Translator, slice_of

CHUNK = 64  # entities of one answer; others get the event loop in between

Found = list[tuple[TableEntry, TableEntry]]
"""Pairs: the switch's entry, and the same as the role sees it."""


class Reader:
    """Answers reads. `schema` is that of the whole program."""

    def __init__(self, switch: SwitchPort, schema: Schema) -> None:
        self._switch = switch
        self._schema = schema

    async def read(
        self, translator: Translator, mirror: Mirror, asked: p4r.Entity
    ) -> AsyncIterator[list[p4r.Entity]]:
        """The role's entities that answer one of a ReadRequest, in chunks.

        Entities of kinds that no role has (groups, meters, ...) are answered with nothing when
        asked for by a wildcard: clients sweep them before they start.
        """
        kind = asked.WhichOneof("entity")
        if kind == "table_entry":
            pattern, counted = asked.table_entry, asked.table_entry.HasField("counter_data")
        elif kind == "direct_counter_entry":
            pattern, counted = asked.direct_counter_entry.table_entry, True
        else:
            return
        found = self._select(translator, mirror, pattern)
        for start in range(0, len(found), CHUNK):
            chunk = found[start : start + CHUNK]
            counters = await self._counters(chunk) if counted else {}
            entities: list[p4r.Entity] = []
            for held, shown in chunk:
                counter = counters.get(entry_key(held))
                if counted and counter is None:
                    continue  # deleted meanwhile
                message = translator.view.encode_entry(shown)
                if counter is None:
                    entities.append(p4r.Entity(table_entry=message))
                elif kind == "table_entry":
                    message.counter_data.CopyFrom(counter)
                    entities.append(p4r.Entity(table_entry=message))
                else:
                    message.ClearField("action")
                    entities.append(
                        p4r.Entity(
                            direct_counter_entry=p4r.DirectCounterEntry(
                                table_entry=message, data=counter
                            )
                        )
                    )
            yield entities
            await asyncio.sleep(0)

    def _select(self, translator: Translator, mirror: Mirror, pattern: p4r.TableEntry) -> Found:
        """The role's entries that a pattern asks for: table 0 is all tables, no key all keys."""
        table = ""
        if pattern.table_id:
            try:
                table = translator.view.table_by_id(pattern.table_id).name
            except SchemaError as error:
                raise denied(
                    f"role {translator.role} has no table {pattern.table_id:#x}"
                ) from error
        if pattern.is_default_action:
            return []  # constant, and the program's
        keys = {info.slice_id: info.key for info in translator.slices().values()}
        if pattern.match:
            if not table:
                raise Refused(
                    grpc.StatusCode.INVALID_ARGUMENT, "a key needs the table that it is for"
                )
            key = translator.key_to_switch(translator.decode_loosely(pattern))
            held = mirror.get(slice_of(key[1]), key)
            return [(held, translator.to_view(held, keys[slice_of(key[1])]))] if held else []
        return [
            (held, translator.to_view(held, gre_key))
            for slice_id, gre_key in keys.items()
            for held in mirror.of(slice_id).values()
            if table in ("", held.table) and pattern.priority in (0, held.priority)
        ]

    async def _counters(self, chunk: Found) -> Mapping[EntryKey, p4r.CounterData]:
        request = p4r.ReadRequest()
        for held, _ in chunk:
            message = self._schema.encode_entry(held)
            message.ClearField("action")
            message.counter_data.SetInParent()
            request.entities.add().table_entry.CopyFrom(message)
        return {
            entry_key(
                self._schema.decode_entry(entity.table_entry)
            ): entity.table_entry.counter_data
            for entity in await self._switch.read(request)
        }
