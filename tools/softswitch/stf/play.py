"""Plays the statements of an STF file on an engine, in their order, and compares what comes out.

What counts is the order per port: the n-th packet out of a port against the n-th `expect` for it.
The number is exact, also for ports that the file never names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from softswitch import ir
from softswitch.engine import Engine
from softswitch.entries import KeyPart
from softswitch.errors import EngineError
from softswitch.stf.syntax import (
    Add,
    Call,
    Expect,
    GroupCreate,
    MirroringAdd,
    NodeAssociate,
    NodeCreate,
    Packet,
    SetDefault,
    Statement,
    StfError,
    number_of,
)

_DIGIT_BITS = {"0x": 4, "0o": 3, "0b": 1}


def play(engine: Engine, statements: Iterable[Statement]) -> list[str]:
    """Run a file; returns what is not as expected, one sentence each. Raises StfError for a
    statement that cannot be carried out. The packet thread must not run."""
    player = _Player(engine)
    for statement in statements:
        try:
            player.run(statement)
        except (EngineError, ValueError) as error:
            raise StfError(f"line {statement.line}: {error}") from error
    return player.differences()


class _Player:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._program = engine.program
        self._expected: dict[int, list[Expect]] = defaultdict(list)
        self._sent: dict[int, list[bytes]] = defaultdict(list)
        self._nodes: list[NodeCreate] = []
        self._groups: dict[int, list[tuple[int, int]]] = {}

    def run(self, statement: Statement) -> None:
        match statement:
            case Packet(_, port, data):
                for out, packet in self._engine.process(port, data):
                    self._sent[out].append(packet)
            case Expect():
                self._expected[statement.port].append(statement)
            case Add():
                self._add(statement)
            case SetDefault():
                table = self._table(statement.table)
                self._engine.set_default(table.name, *self._call(table, statement.call))
            case MirroringAdd(_, session, port):
                self._engine.clone_session_set(session, [(port, 0)])
            case GroupCreate(_, group):
                self._groups[group] = []
                self._engine.multicast_set(group, [])
            case NodeCreate():
                self._nodes.append(statement)
            case NodeAssociate(_, group, handle):
                if group not in self._groups or not 0 <= handle < len(self._nodes):
                    raise ValueError(f"no group {group}, or no node {handle}")
                node = self._nodes[handle]
                self._groups[group] += [(port, node.rid) for port in node.ports]
                self._engine.multicast_set(group, self._groups[group])

    def differences(self) -> list[str]:
        found = []
        for port in sorted(self._expected.keys() | self._sent.keys()):
            wanted, sent = self._expected[port], self._sent[port]
            for place, (expect, packet) in enumerate(zip(wanted, sent, strict=False), 1):
                if not expect.matches(packet):
                    shown = f"{expect.digits}{'$' if expect.exact else ''}"
                    found.append(
                        f"line {expect.line}: port {port}, packet {place}: expected {shown}, "
                        f"got {packet.hex()}"
                    )
            for expect in wanted[len(sent) :]:
                found.append(f"line {expect.line}: port {port}: expected a packet, got none")
            for packet in sent[len(wanted) :]:
                found.append(f"port {port}: a packet that is not expected: {packet.hex()}")
        return found

    # -- names --------------------------------------------------------------------------------

    def _table(self, name: str) -> ir.Table:
        return self._program.tables[_resolve("table", name, self._program.tables)]

    def _call(self, table: ir.Table, call: Call) -> tuple[str, list[int]]:
        name = _resolve(f"action of table '{table.name}'", call.action, table.actions)
        params = self._program.actions[table.actions[name]].params
        given = dict(call.args)
        names = [param for param, _width in params]
        if len(given) != len(call.args) or set(given) != set(names):
            raise ValueError(f"action '{name}' takes {names}, not {[a for a, _ in call.args]}")
        return name, [number_of(given[param]) for param in names]

    def _add(self, add: Add) -> None:
        table = self._table(add.table)
        name, args = self._call(table, add.call)
        written: dict[int, str] = {}
        for key, value in add.keys:
            place = _key_place(table.keys, key)
            if place in written:
                raise ValueError(f"key '{key}' is given twice")
            written[place] = value
        parts = [
            key_part(key, written[place]) if place in written else KeyPart()
            for place, key in enumerate(table.keys)
        ]
        self._engine.insert(table.name, parts, add.priority + 1, name, args)


def _resolve(what: str, name: str, known: Mapping[str, object]) -> str:
    """The full name: this one, or the only one that ends so, at a dot if possible."""
    if name in known:
        return name
    fits = [full for full in known if full.endswith(f".{name}")]
    if len(fits) != 1:
        fits = [full for full in known if full.endswith(name)]
    if len(fits) != 1:
        raise ValueError(f"no {what} '{name}'" if not fits else f"{what} '{name}': any of {fits}")
    return fits[0]


def _key_place(keys: Sequence[ir.Key], written: str) -> int:
    name = re.sub(r"\$(\d+)", r"[\1]", written)
    if name.endswith(".valid"):
        name = name.removesuffix("valid") + ir.VALID
    for same in (True, False):
        fits = [
            place
            for place, key in enumerate(keys)
            if any(
                full == name or (not same and full.endswith(f".{name}"))
                for full in (key.name, f"{key.source.header}.{key.source.field}")
            )
        ]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(f"key '{written}': any of {[keys[place].name for place in fits]}")
    raise ValueError(f"no key '{written}' among {[key.name for key in keys]}")


def key_part(key: ir.Key, text: str) -> KeyPart:
    """A value as it is written for a key field. Raises ValueError."""
    if key.match is ir.Match.EXACT:
        return KeyPart(value=number_of(text))
    prefix, digits = text[:2].lower(), text[2:]
    bits = _DIGIT_BITS.get(prefix)
    full = (1 << key.width) - 1
    if key.match is ir.Match.LPM:
        value, slash, length = text.partition("/")
        if slash:
            return KeyPart(value=number_of(value), prefix_len=int(length))
        if bits is None:
            return KeyPart(value=number_of(text), prefix_len=key.width)
        significant = bits * (len(digits) - digits.count("*"))
        return KeyPart(value=number_of(text.replace("*", "0")), prefix_len=significant)
    if bits is None:
        return KeyPart(value=number_of(text), mask=full)
    mask = 0
    for digit in digits:
        mask = mask << bits | (0 if digit == "*" else (1 << bits) - 1)
    return KeyPart(value=number_of(text.replace("*", "0")) & mask, mask=mask & full)
