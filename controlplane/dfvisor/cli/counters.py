"""`dfvctl stats`: the counters that the agents pushed; no switch is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from rich.table import Table

from dfvisor.cli.output import age, table
from dfvisor.model.source import Plain
from dfvisor.store.stats import SwitchStats

Reading = Mapping[str, SwitchStats]


def filtered(reading: Reading, vn: str | None) -> dict[str, SwitchStats]:
    """Only what concerns the VN."""
    if vn is None:
        return dict(reading)
    return {
        switch: msgspec.structs.replace(
            stats,
            counters=tuple(c for c in stats.counters if c.vn == vn),
            drops=tuple(d for d in stats.drops if d.vn == vn),
            ports=(),
            roles=tuple(r for r in stats.roles if r.role.split("/")[1:2] == [vn]),
        )
        for switch, stats in reading.items()
    }


def plain(reading: Reading) -> dict[str, Plain]:
    """For JSON and YAML."""
    found = msgspec.to_builtins(dict(reading))
    assert isinstance(found, dict)
    return found


def tables(reading: Reading, before: Reading | None = None) -> list[Table]:
    """One table of counters, one of drops, one of ports; with rates since `before`."""
    columns = ["switch", "age", "VN", "table", "record", "port", "packets", "bytes"]
    rates = ["packets/s", "Mbit/s"] if before is not None else []
    made = [
        table(
            "counters",
            [*columns, *rates],
            _counter_rows(reading, before),
            right=("port", "packets", "bytes", "packets/s", "Mbit/s"),
        )
    ]
    drops = [
        (switch, drop.vn or "-", drop.slice or "-", drop.reason, drop.packets)
        for switch, stats in sorted(reading.items())
        for drop in stats.drops
        if drop.packets
    ]
    if drops:
        columns = ["switch", "VN", "slice", "reason", "packets"]
        made.append(table("drops", columns, drops, right=("packets",)))
    ports = [
        (switch, port.port, port.rx_packets, port.rx_bytes, port.tx_packets, port.tx_bytes)
        for switch, stats in sorted(reading.items())
        for port in stats.ports
    ]
    if ports:
        columns = ["switch", "port", "rx packets", "rx bytes", "tx packets", "tx bytes"]
        made.append(table("ports", columns, ports, right=columns[1:]))
    roles = [
        (switch, count.role, count.kind.replace("_", " "), count.number)
        for switch, stats in sorted(reading.items())
        for count in stats.roles
    ]
    if roles:
        columns = ["switch", "role", "what", "number"]
        made.append(table("slicers", columns, roles, right=("number",)))
    return made


def _counter_rows(reading: Reading, before: Reading | None) -> Iterable[tuple[object, ...]]:
    for switch, stats in sorted(reading.items()):
        old = before.get(switch) if before else None
        seen = {_key(c): c for c in old.counters} if old else {}
        for counter in stats.counters:
            row: tuple[object, ...] = (
                switch,
                age(stats.at),
                counter.vn,
                counter.table,
                f"{counter.kind} {counter.name}",
                counter.port or "",
                counter.packets,
                counter.bytes,
            )
            if before is not None:
                last = seen.get(_key(counter))
                seconds = stats.at - old.at if old else 0.0
                if last is None or seconds <= 0:
                    row += ("", "")
                else:
                    row += (
                        f"{(counter.packets - last.packets) / seconds:.0f}",
                        f"{(counter.bytes - last.bytes) * 8 / seconds / 1e6:.2f}",
                    )
            yield row


def _key(counter: object) -> tuple[object, ...]:
    found = msgspec.structs.astuple(counter)  # type: ignore[arg-type]
    return (*found[:4], found[6])
