"""The Simple Test Format of p4c: text to statements.

One statement a line, `#` begins a comment. The words of statements are taken in any case. Pure: no
program is known here, so names and values stay as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

_CALL = re.compile(r"(\S+?)\s*\((.*)\)\s*$")
_HEX = re.compile(r"[0-9a-f]*", re.IGNORECASE)
_PATTERN = re.compile(r"[0-9a-f*]*", re.IGNORECASE)


_NUMBERS = frozenset(("mc_node_create", "mc_mgrp_create", "mc_node_associate", "mirroring_add"))


class StfError(Exception):
    """A file that cannot be read or played; the message begins with the line's number."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet enters at a port."""

    line: int
    port: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """A packet leaves by a port. `digits` are hex digits or `*`; None: any packet. `exact`: the
    packet is no longer than that."""

    line: int
    port: int
    digits: str | None
    exact: bool

    def matches(self, packet: bytes) -> bool:
        """Whether this packet is meant."""
        if self.digits is None:
            return True
        found = packet.hex()
        if len(found) < len(self.digits) or (self.exact and len(found) > len(self.digits)):
            return False
        return all(want in ("*", got) for want, got in zip(self.digits, found, strict=False))


@dataclass(frozen=True, slots=True)
class Call:
    """An action with arguments by name."""

    action: str
    args: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Add:
    """A table entry; keys by name. The bigger priority wins."""

    line: int
    table: str
    priority: int
    keys: tuple[tuple[str, str], ...]
    call: Call


@dataclass(frozen=True, slots=True)
class SetDefault:
    """A table's default action."""

    line: int
    table: str
    call: Call


@dataclass(frozen=True, slots=True)
class MirroringAdd:
    """A clone session to one port."""

    line: int
    session: int
    port: int


@dataclass(frozen=True, slots=True)
class GroupCreate:
    """A multicast group."""

    line: int
    group: int


@dataclass(frozen=True, slots=True)
class NodeCreate:
    """A replication node, which gets the next handle, from 0."""

    line: int
    rid: int
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NodeAssociate:
    """A node becomes part of a group."""

    line: int
    group: int
    handle: int


Statement: TypeAlias = (
    Packet | Expect | Add | SetDefault | MirroringAdd | GroupCreate | NodeCreate | NodeAssociate
)


def parse(text: str) -> list[Statement]:
    """The statements of a file. Raises StfError."""
    statements: list[Statement] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words or words[0].lower() in ("wait", "no_packet"):
            continue
        try:
            statements.append(_statement(number, words[0].lower(), words[1:]))
        except ValueError as error:
            raise StfError(f"line {number}: {error}") from error
    return statements


def number_of(text: str) -> int:
    """A number: decimal, or with 0x, 0b or 0o in front. Raises ValueError."""
    return int(text, 0) if text[:1] == "0" and not text.isdecimal() else int(text)


def _statement(line: int, word: str, rest: Sequence[str]) -> Statement:
    if word == "packet":
        return Packet(line, number_of(_first(rest)), _bytes("".join(rest[1:])))
    if word == "expect":
        return _expect(line, rest)
    if word == "add":
        return _add(line, rest)
    if word == "setdefault":
        return SetDefault(line, _first(rest), _call(" ".join(rest[1:])))
    numbers = [number_of(text) for text in rest] if word in _NUMBERS else []
    if word == "mc_node_create" and len(numbers) >= 1:
        return NodeCreate(line, numbers[0], tuple(numbers[1:]))
    if word == "mc_mgrp_create" and len(numbers) == 1:
        return GroupCreate(line, numbers[0])
    if word == "mc_node_associate" and len(numbers) == 2:
        return NodeAssociate(line, *numbers)
    if word == "mirroring_add" and len(numbers) == 2:
        return MirroringAdd(line, *numbers)
    raise ValueError(f"'{word}' with {len(rest)} words is no statement that is known here")


def _first(words: Sequence[str]) -> str:
    if not words:
        raise ValueError("the line ends too early")
    return words[0]


def _bytes(digits: str) -> bytes:
    if not _HEX.fullmatch(digits) or len(digits) % 2:
        raise ValueError(f"'{digits}' are no whole bytes in hexadecimal")
    return bytes.fromhex(digits)


def _expect(line: int, rest: Sequence[str]) -> Expect:
    port = number_of(_first(rest))
    digits = "".join(rest[1:]).lower()
    exact = digits.endswith("$")
    digits = digits.removesuffix("$")
    if not _PATTERN.fullmatch(digits):
        raise ValueError(f"'{digits}' is no pattern of hexadecimal digits and *")
    return Expect(line, port, digits if digits or exact else None, exact)


def _add(line: int, rest: Sequence[str]) -> Add:
    table, words = _first(rest), list(rest[1:])
    priority = 0
    if words and words[0].isdecimal():
        priority = int(words.pop(0))
    keys: list[tuple[str, str]] = []
    while words and ":" in words[0] and "(" not in words[0]:
        name, _, value = words.pop(0).rpartition(":")
        keys.append((name, value))
    return Add(line, table, priority, tuple(keys), _call(" ".join(words)))


def _call(text: str) -> Call:
    found = _CALL.match(text)
    if found is None:
        raise ValueError(f"'{text}' is no action with its arguments in parentheses")
    args = []
    for part in found[2].split(","):
        if not part.strip():
            continue
        name, colon, value = part.partition(":")
        if not colon:
            raise ValueError(f"argument '{part.strip()}' has no name")
        args.append((name.strip(), value.strip()))
    return Call(found[1], tuple(args))
