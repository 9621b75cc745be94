"""Records from plain values: the one form used by description files and the database; render.py is
the way back.

Pure. Reading checks each value alone (type, range, form) and collects every problem; what needs
more than one record is checked by validate.py. A record with a problem is left out and remembered
as broken, so that references to it are not reported as dangling as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from dfvisor.errors import Problem
from dfvisor.model.grants import Span
from dfvisor.model.rates import MAX_BPS, MIN_BPS, in_range, parse_bps, render_bps
from dfvisor.model.records import (
    DEFAULT_MTU,
    DEFAULT_PUNT_PPS,
    DEFAULT_STALE_AFTER_S,
    UNTAGGED,
    Endpoint,
    Flowspace,
    Link,
    Match,
    MissPolicy,
    Peer,
    Profile,
    Rate,
    Slice,
    Stale,
    Switch,
    Tenant,
    Treatment,
)
from dfvisor.model.source import Path, Plain, line_of, show
from dfvisor.model.types import Mac, PortRange, PortRef

T = TypeVar("T")
D = TypeVar("D")
E = TypeVar("E", bound=StrEnum)
P = ParamSpec("P")

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
MAX_KEY = 2**32 - 1
MAX_PRIORITY = 65000
MAX_DEVICE_ID = 65535
MAX_COST = 2**31 - 1
MIN_MTU = 576  # RFC 791: what every host must take
MAX_MTU = 9216
MAX_STALE_AFTER_S = 7 * 86400
MAX_PPS = 10_000_000
MIN_BURST_BYTES = 1518  # a full frame: a smaller bucket never lets one through
MAX_BURST_BYTES = 2**31 - 1
_BRIEF = 60
# as JSON Schema says it: not less than what is read below
_IPV4 = r"[0-9]{1,3}([.][0-9]{1,3}){3}"
_IPV6 = r"[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%[^/]+)?"
_FLAGS = "(0x[0-9a-fA-F]{1,2}|[0-9]{1,3})"

IP_PROTOCOLS: Mapping[str, int] = {
    "icmp": 1,
    "tcp": 6,
    "udp": 17,
    "gre": 47,
    "icmpv6": 58,
    "sctp": 132,
}
ETH_TYPES: Mapping[str, int] = {"ipv4": 0x0800, "arp": 0x0806, "ipv6": 0x86DD}
IP_NAMES = {number: name for name, number in IP_PROTOCOLS.items()}
ETH_NAMES = {number: name for name, number in ETH_TYPES.items()}


F = TypeVar("F", bound=Callable[..., Any])
Parse = Callable[[Plain], T]


class Recorder(Protocol):
    """Is told which keys a record may have, and what reads their values: see jsonschema.py."""

    def key(self, path: Path, key: str, parse: Callable[[Plain], Any], required: bool) -> None: ...

    def named(self, path: Path, key: str, parse: Callable[..., Any]) -> None: ...


RECORDER: ContextVar[Recorder | None] = ContextVar("RECORDER", default=None)


def described(**schema: Any) -> Callable[[F], F]:
    """Say in JSON Schema what values a function takes."""

    def mark(parse: F) -> F:
        parse.json_schema = schema  # type: ignore[attr-defined]
        return parse

    return mark


def _once(make: Callable[P, T]) -> Callable[P, T]:
    """The same function for the same arguments: made once, however many records are read."""
    return cast("Callable[P, T]", cache(make))


class Problems:
    """Collects problems with the line of their path, and the paths of broken records."""

    def __init__(self, lines: Mapping[Path, int] | None = None) -> None:
        self.lines = lines or {}
        self.found: list[Problem] = []
        self.broken: set[Path] = set()

    def add(self, path: Path, message: str) -> None:
        line = line_of(self.lines, path)
        self.found.append(Problem(line=line, path=show(path), message=message))


class Fields:
    """The keys of one mapping, taken one by one; `end` reports those that nobody took."""

    def __init__(self, value: Plain, path: Path, problems: Problems) -> None:
        self._path = path
        self._problems = problems
        self._recorder = RECORDER.get()
        self._taken: set[str] = set()
        self.ok = True
        self._mapping = True
        self._values: dict[str, Plain] = {}
        if isinstance(value, dict):
            self._values = value
        elif value is not None:
            self._mapping = False
            self.fail((), f"expected a mapping, not {_kind(value)}")

    def need(self, key: str, parse: Callable[[Plain], T], stand_in: T) -> T:
        """A required value; `stand_in` is returned after a problem was reported."""
        if self._recorder is not None:
            self._recorder.key(self._path, key, parse, True)
        if self._values.get(key) is None:
            self._taken.add(key)
            if self._mapping:
                self.fail((), f"{key} is missing")
            return stand_in
        return self.take(key, parse, stand_in)

    def take(self, key: str, parse: Callable[[Plain], T], default: D) -> T | D:
        """An optional value; null counts as absent."""
        if self._recorder is not None:
            self._recorder.key(self._path, key, parse, False)
        self._taken.add(key)
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return parse(value)
        except ValueError as error:
            self.fail((key,), str(error))
            return default

    def named(
        self, key: str, parse: Callable[[str, Plain, Path, Problems], T | None]
    ) -> dict[str, T]:
        """The records under `key` that can be read, by name."""
        if self._recorder is not None:
            self._recorder.named(self._path, key, parse)
        return {
            name: record
            for name, value, path in self.items(key)
            if (record := parse(name, value, path, self._problems)) is not None
        }

    def items(self, key: str) -> Iterable[tuple[str, Plain, Path]]:
        """Named records under `key`: name, value, path; bad names are reported."""
        self._taken.add(key)
        value = self._values.get(key)
        if value is None:
            return
        if not isinstance(value, dict):
            self.fail((key,), f"expected a mapping of names, not {_kind(value)}")
            return
        for name, record in value.items():
            path = (*self._path, key, name)
            if NAME.fullmatch(name):
                yield name, record, path
            else:
                self._problems.add(
                    path, f"{name!r} is no name (letters, digits, '_', '.', '-'; at most 63)"
                )

    def end(self) -> bool:
        """Report unknown keys. Whether everything was fine."""
        for key in self._values:
            if key not in self._taken:
                close = difflib.get_close_matches(key, self._taken, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                self.fail((key,), f"unknown key {key!r}{hint}")
        if not self.ok:
            self._problems.broken.add(self._path)
        return self.ok

    def given(self, key: str) -> bool:
        return self._values.get(key) is not None

    def fail(self, inner: Path, message: str) -> None:
        """Report a problem with the record, or with what is at `inner` in it."""
        self.ok = False
        self._problems.add((*self._path, *inner), message)


# -- values


def _kind(value: Plain) -> str:
    names = {bool: "true/false", int: "a number", float: "a fraction", str: "text", list: "a list"}
    return names.get(type(value), "a mapping") if value is not None else "nothing"


def brief(value: object) -> str:
    """A value for a message: never longer than a line."""
    said = repr(value)
    return said if len(said) <= _BRIEF else f"{said[: _BRIEF - 3]}..."


@described(type="string")
def text(value: Plain) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, not {_kind(value)} ({brief(value)})")
    return value


@described()
def anything(value: Plain) -> Plain:
    """For what the caller parses itself."""
    return value


@described(type=["string", "integer"], pattern=f"^{NAME.pattern}$", minimum=0)
def name(value: Plain) -> str:
    found = str(value) if isinstance(value, int) and not isinstance(value, bool) else text(value)
    if not NAME.fullmatch(found):
        raise ValueError(f"{brief(found)} is no name (letters, digits, '_', '.', '-'; at most 63)")
    return found


@_once
def integer(low: int, high: int) -> Callable[[Plain], int]:
    @described(type="integer", minimum=low, maximum=high)
    def parse(value: Plain) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(
                f"expected a number {low}..{high}, not {_kind(value)} ({brief(value)})"
            )
        if not low <= value <= high:
            raise ValueError(f"{brief(value)} is out of range {low}..{high}")
        return value

    return parse


@_once
def span(low: int, high: int) -> Callable[[Plain], Span]:
    """`11`, `11-19`: an inclusive range within low..high."""

    @described(
        type=["string", "integer"],
        pattern="^[0-9]{1,10}(-[0-9]{1,10})?$",
        minimum=low,
        maximum=high,
    )
    def parse(value: Plain) -> Span:
        if isinstance(value, int) and not isinstance(value, bool):
            return Span.parse(str(value), low, high)
        return Span.parse(text(value), low, high)

    return parse


@described(type="boolean")
def boolean(value: Plain) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, not {brief(value)}")
    return value


@_once
def choice(kind: type[E]) -> Callable[[Plain], E]:
    @described(enum=[member.value for member in kind])
    def parse(value: Plain) -> E:
        for member in kind:
            if value == member.value:
                return member
        allowed = ", ".join(member.value for member in kind)
        raise ValueError(f"{brief(value)} is not one of: {allowed}")

    return parse


@_once
def sequence(parse_item: Callable[[Plain], T]) -> Callable[[Plain], tuple[T, ...]]:
    @described(type="array", items=parse_item)
    def parse(value: Plain) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError(f"expected a list, not {_kind(value)} ({brief(value)})")
        return tuple(parse_item(item) for item in value)

    return parse


@described(type="string", pattern="^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
def mac(value: Plain) -> Mac:
    return Mac.parse(text(value))


@described(type="string", pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*:[0-9]{1,3}$")
def port_ref(value: Plain) -> PortRef:
    return PortRef.parse(text(value))


@described(
    type=["string", "integer"], pattern="^[0-9]{1,5}(-[0-9]{1,5})?$", minimum=0, maximum=0xFFFF
)
def port_range(value: Plain) -> PortRange:
    if isinstance(value, int) and not isinstance(value, bool):
        return PortRange.parse(str(value))
    return PortRange.parse(text(value))


@described(type="string", pattern=f"^({_IPV4}|{_IPV6})$")
def address(value: Plain) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text(value))
    except ValueError:
        raise ValueError(f"{brief(value)} is not an IP address") from None


@described(type="string", pattern=f"^{_IPV4}$")
def ipv4(value: Plain) -> IPv4Address:
    try:
        return IPv4Address(text(value))
    except ValueError:
        raise ValueError(f"{brief(value)} is not an IPv4 address like 192.0.2.1") from None


@described(type="string", pattern=f"^{_IPV4}(/[0-9.]+)?$")
def ipv4_network(value: Plain) -> IPv4Network:
    try:
        loose = IPv4Network(text(value), strict=False)
    except ValueError:
        raise ValueError(f"{brief(value)} is not an IPv4 network like 10.0.0.0/24") from None
    return _no_host_bits(loose, text(value))


@described(type="string", pattern=f"^{_IPV6}(/[0-9]+)?$")
def ipv6_network(value: Plain) -> IPv6Network:
    try:
        loose = IPv6Network(text(value), strict=False)
    except ValueError:
        raise ValueError(f"{brief(value)} is not an IPv6 network like 2001:db8::/64") from None
    return _no_host_bits(loose, text(value))


N = TypeVar("N", IPv4Network, IPv6Network)


def _no_host_bits(network: N, said: str) -> N:
    if int(ip_address(said.split("/")[0])) != int(network.network_address):
        raise ValueError(f"{brief(said)} has bits set beyond its prefix; did you mean {network}?")
    return network


def named_number(names: Mapping[str, int], high: int) -> Callable[[Plain], int]:
    in_any_case = "|".join(
        "".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in name) for name in names
    )

    @described(
        anyOf=[
            {"enum": list(names)},
            {"type": "string", "pattern": f"^({in_any_case})$"},
            {"type": "integer", "minimum": 0, "maximum": high},
        ]
    )
    def parse(value: Plain) -> int:
        if isinstance(value, str):
            if value.lower() in names:
                return names[value.lower()]
            raise ValueError(f"{brief(value)} is not one of: {', '.join(names)}, or 0..{high}")
        return integer(0, high)(value)

    return parse


eth_type = named_number(ETH_TYPES, 0xFFFF)
ip_protocol = named_number(IP_PROTOCOLS, 0xFF)


@described(anyOf=[{"const": "untagged"}, {"type": "integer", "minimum": 0, "maximum": 4095}])
def vlan(value: Plain) -> int:
    return UNTAGGED if value == "untagged" else integer(0, 4095)(value)


@described(
    type=["string", "integer"],
    pattern="^[0-9]{1,12}([.][0-9]{1,9})?[kmgKMG]?[bB][iI][tT]$",
    minimum=MIN_BPS,
    maximum=MAX_BPS,
)
def bit_rate(value: Plain) -> int:
    """`5mbit`, or a number of bit/s."""
    if isinstance(value, int) and not isinstance(value, bool):
        return in_range(value)
    return parse_bps(text(value))


@described(anyOf=[{"const": "unlimited"}, {"type": "integer", "minimum": 1, "maximum": MAX_PPS}])
def limit_pps(value: Plain) -> int:
    """Packets per second; 0 is `unlimited`."""
    return 0 if value == "unlimited" else integer(1, MAX_PPS)(value)


@described(type=["string", "integer"], pattern=f"^{_FLAGS}/{_FLAGS}$", minimum=0, maximum=255)
def tcp_flags(value: Plain) -> tuple[int, int]:
    """`0x02/0x12` (value/mask), or a number: all eight flags."""
    if isinstance(value, int):
        return integer(0, 255)(value), 255
    found = re.fullmatch(r"(0x[0-9a-fA-F]{1,2}|\d{1,3})/(0x[0-9a-fA-F]{1,2}|\d{1,3})", text(value))
    if not found:
        raise ValueError(f"{brief(value)} is not value/mask like 0x02/0x12")
    flags, mask = int(found[1], 0), int(found[2], 0)
    if not 0 < mask <= 255 or flags & ~mask:
        raise ValueError(f"{brief(value)}: the mask must be 1..255 and cover the value")
    return flags, mask


# -- records


def parse_switch(label: str, value: Plain, path: Path, problems: Problems) -> Switch | None:
    fields = Fields(value, path, problems)
    device_id = fields.need("device_id", integer(1, MAX_DEVICE_ID), 1)
    vtep = fields.need("vtep", ipv4, IPv4Address(1))
    drained = fields.take("drained", boolean, False)
    switch = Switch(name=label, device_id=device_id, vtep=vtep, drained=drained)
    return switch if fields.end() else None


def parse_link(value: Plain, path: Path, problems: Problems) -> Link | None:
    fields = Fields(value, path, problems)
    a = fields.need("a", port_ref, PortRef("", 1))
    b = fields.need("b", port_ref, PortRef("", 1))
    cost = fields.take("cost", integer(1, MAX_COST), 1)
    mtu = fields.take("mtu", integer(MIN_MTU, MAX_MTU), DEFAULT_MTU)
    drained = fields.take("drained", boolean, False)
    capacity = fields.take("capacity", bit_rate, None)
    cable = replace(link(a, b, cost, mtu), drained=drained, capacity_bps=capacity)
    return cable if fields.end() else None


def link(a: PortRef, b: PortRef, cost: int = 1, mtu: int = DEFAULT_MTU) -> Link:
    """A link with its ends in order, so that one cable has one form."""
    first, second = sorted((a, b))
    return Link(a=first, b=second, cost=cost, mtu=mtu)


def link_name(cable: Link) -> str:
    """`s1:1-s2:1`: the name of a link, the same from either end."""
    first, second = sorted((cable.a, cable.b))
    return f"{first}-{second}"


def parse_peer(label: str, value: Plain, path: Path, problems: Problems) -> Peer | None:
    fields = Fields(value, path, problems)
    vtep = fields.need("vtep", ipv4, IPv4Address(1))
    port = fields.need("port", port_ref, PortRef("", 1))
    hardware = fields.need("mac", mac, Mac(0))
    mtu = fields.take("mtu", integer(MIN_MTU, MAX_MTU), DEFAULT_MTU)
    if not fields.end():
        return None
    return Peer(name=label, vtep=vtep, port=port, mac=hardware, mtu=mtu)


def parse_tenant(label: str, value: Plain, path: Path, problems: Problems) -> Tenant | None:
    return Tenant(name=label) if Fields(value, path, problems).end() else None


def parse_profile(label: str, value: Plain, path: Path, problems: Problems) -> Profile | None:
    fields = Fields(value, path, problems)
    queue = fields.need("queue", integer(0, 7), 0)
    dscp = fields.need("dscp", integer(0, 63), 0)
    rate = parse_rate(fields, path, problems)
    return Profile(name=label, queue=queue, dscp=dscp, rate=rate) if fields.end() else None


def parse_rate(record: Fields, path: Path, problems: Problems) -> Rate | None:
    """The `rate` of a record, if it has one: a mapping, or one bit rate for committed and peak."""
    said = record.take("rate", _rate_or_mapping, None)
    if said is None:
        return None
    if not isinstance(said, dict):
        bps = record.take("rate", bit_rate, None)
        return None if bps is None else Rate(committed_bps=bps, peak_bps=bps)
    rate = _rate(said, (*path, "rate"), problems)
    if rate is None:
        record.ok = False
    return rate


def _rate(value: Plain, path: Path, problems: Problems) -> Rate | None:
    fields = Fields(value, path, problems)
    committed = fields.need("committed", bit_rate, 1)
    peak = fields.need("peak", bit_rate, committed)
    burst = fields.take("burst", integer(MIN_BURST_BYTES, MAX_BURST_BYTES), None)
    if fields.ok and peak < committed:
        fields.fail(
            ("peak",), f"{render_bps(peak)} is below the committed rate, {render_bps(committed)}"
        )
    if not fields.end():
        return None
    return Rate(committed_bps=committed, peak_bps=peak, burst_bytes=burst)


@described(anyOf=[bit_rate, _rate])
def _rate_or_mapping(value: Plain) -> Plain:
    return value


def parse_slice(label: str, value: Plain, path: Path, problems: Problems) -> Slice | None:
    fields = Fields(value, path, problems)
    key = fields.need("key", integer(1, MAX_KEY), 1)
    profile = fields.take("profile", name, None)
    miss = fields.take("miss", choice(MissPolicy), MissPolicy.BEST_EFFORT)
    avoid = fields.take("avoid", sequence(name), ())
    punt_pps = fields.take("punt_pps", integer(1, MAX_PPS), DEFAULT_PUNT_PPS)
    stale = fields.take("stale", choice(Stale), Stale.HOLD)
    after_s = fields.take("stale_after_s", integer(1, MAX_STALE_AFTER_S), DEFAULT_STALE_AFTER_S)
    disabled = fields.take("disabled", boolean, False)
    if not fields.end():
        return None
    return Slice(
        name=label,
        key=key,
        profile=profile,
        miss=miss,
        avoid=avoid,
        punt_pps=punt_pps,
        stale=stale,
        stale_after_s=after_s,
        disabled=disabled,
    )


@described(
    oneOf=[
        {"required": [one], "properties": {one: {"not": {"type": "null"}}, other: {"type": "null"}}}
        for one, other in (("port", "peer"), ("peer", "port"))
    ],
    dependentSchemas={
        "vlan": {"anyOf": [{"properties": {"vlan": {"type": "null"}}}, {"required": ["port"]}]}
    },
)
def parse_endpoint(label: str, value: Plain, path: Path, problems: Problems) -> Endpoint | None:
    fields = Fields(value, path, problems)
    hardware = fields.need("mac", mac, Mac(0))
    ips = fields.take("ips", sequence(address), ())
    port = fields.take("port", port_ref, None)
    access_vlan = fields.take("vlan", integer(1, 4094), None)
    peer = fields.take("peer", name, None)
    if not fields.given("port") and not fields.given("peer") and isinstance(value, dict):
        fields.fail((), "port is missing (or peer, if it is behind a foreign GRE endpoint)")
    elif fields.given("port") and fields.given("peer"):
        fields.fail((), "port and peer exclude each other: where is it?")
    elif fields.given("vlan") and fields.given("peer"):
        fields.fail(("vlan",), "only endpoints at a port are told apart by VLAN")
    if not fields.end():
        return None
    return Endpoint(name=label, mac=hardware, ips=ips, port=port, vlan=access_vlan, peer=peer)


def parse_match(value: Plain, path: Path, problems: Problems) -> Match | None:
    fields = Fields(value, path, problems)
    match = Match(
        endpoint=fields.take("endpoint", name, None),
        eth_src=fields.take("eth_src", mac, None),
        eth_dst=fields.take("eth_dst", mac, None),
        eth_type=fields.take("eth_type", eth_type, None),
        vlan=fields.take("vlan", vlan, None),
        ipv4_src=fields.take("ipv4_src", ipv4_network, None),
        ipv4_dst=fields.take("ipv4_dst", ipv4_network, None),
        ipv6_src=fields.take("ipv6_src", ipv6_network, None),
        ipv6_dst=fields.take("ipv6_dst", ipv6_network, None),
        ip_proto=fields.take("ip_proto", ip_protocol, None),
        dscp=fields.take("dscp", integer(0, 63), None),
        fragment=fields.take("fragment", boolean, None),
        l4_src=fields.take("l4_src", port_range, None),
        l4_dst=fields.take("l4_dst", port_range, None),
        tcp_flags=fields.take("tcp_flags", tcp_flags, None),
    )
    return match if fields.end() else None


def parse_flowspace(label: str, value: Plain, path: Path, problems: Problems) -> Flowspace | None:
    fields = Fields(value, path, problems)
    priority = fields.need("priority", integer(1, MAX_PRIORITY), 1)
    in_slice = fields.need("slice", name, "")
    treatment = fields.take("treatment", choice(Treatment), Treatment.PERMIT)
    bidirectional = fields.take("bidirectional", boolean, False)
    rate = parse_rate(fields, path, problems)
    if fields.given("rate") and treatment is not Treatment.PERMIT:
        fields.fail(("rate",), f"what is not permitted ({treatment.value}) is not metered")
    under = fields.take("under", name, None)
    readers = fields.take("readers", sequence(name), ())
    match = parse_match(fields.take("match", anything, None), (*path, "match"), problems)
    if not fields.end() or match is None:
        problems.broken.add(path)
        return None
    return Flowspace(
        name=label,
        priority=priority,
        match=match,
        slice=in_slice,
        treatment=treatment,
        bidirectional=bidirectional,
        rate=rate,
        under=under,
        readers=readers,
    )
