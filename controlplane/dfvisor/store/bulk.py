"""Flowspaces of a page, encoded and decoded many at a time: pure.

The description's parser explains every mistake and is not fast. This one knows only flowspaces that
are right; for all others it gives up, and the parser says what is wrong. Both give the same records
(a property test holds them together), and so do both ways of writing them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Annotated, Any

import msgspec

from dfvisor.model import plain as form
from dfvisor.model.plain import Problems
from dfvisor.model.records import UNTAGGED, Flowspace, Match, Treatment
from dfvisor.model.render import render_flags, render_flowspace, render_ports, render_rate
from dfvisor.model.types import Mac

_CACHED = 65536  # texts; a page repeats many

_Text = str | None


class _Match(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    endpoint: _Text = None
    eth_src: _Text = None
    eth_dst: _Text = None
    eth_type: int | str | None = None
    vlan: int | str | None = None
    ipv4_src: _Text = None
    ipv4_dst: _Text = None
    ipv6_src: _Text = None
    ipv6_dst: _Text = None
    ip_proto: int | str | None = None
    dscp: Annotated[int, msgspec.Meta(ge=0, le=63)] | None = None
    fragment: bool | None = None
    l4_src: int | str | None = None
    l4_dst: int | str | None = None
    tcp_flags: int | str | None = None


class _Flowspace(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    priority: Annotated[int, msgspec.Meta(ge=1, le=form.MAX_PRIORITY)]
    match: _Match
    slice: str
    treatment: Treatment = Treatment.PERMIT
    bidirectional: bool = False
    rate: Any = None


_named = msgspec.json.Decoder(dict[str, _Flowspace] | None)


@lru_cache(_CACHED)
def _name(text: str) -> str:
    """Checked once, and one object for all of them."""
    return form.name(text)


@lru_cache(_CACHED)
def _mac(text: str) -> Mac:
    return form.mac(text)


_ipv4 = lru_cache(_CACHED)(form.ipv4_network)
_ipv6 = lru_cache(_CACHED)(form.ipv6_network)
_ports: Callable[[Any], Any] = lru_cache(_CACHED)(form.port_range)
_proto: Callable[[Any], Any] = lru_cache(_CACHED)(form.named_number(form.IP_PROTOCOLS, 0xFF))
_type: Callable[[Any], Any] = lru_cache(_CACHED)(form.named_number(form.ETH_TYPES, 0xFFFF))


def flowspaces(data: bytes | msgspec.Raw) -> dict[str, Flowspace] | None:
    """Encoded flowspaces by name; None if any is not as it should be, or there are none."""
    try:
        forms = _named.decode(data)
        return None if forms is None else {n: _flowspace(n, one) for n, one in forms.items()}
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return None  # the caller's parser says why


def _flowspace(name: str, one: _Flowspace) -> Flowspace:
    rate = None
    if one.rate is not None:
        problems = Problems()
        fields = form.Fields({"rate": one.rate}, (), problems)
        rate = form.parse_rate(fields, (), problems)
        if problems.found or one.treatment is not Treatment.PERMIT:
            raise ValueError
    return Flowspace(
        name=name,
        priority=one.priority,
        match=_match(one.match),
        slice=_name(one.slice),
        treatment=one.treatment,
        bidirectional=one.bidirectional,
        rate=rate,
    )


def _match(one: _Match) -> Match:
    vlan = one.vlan
    if vlan is not None:
        vlan = form.vlan(vlan)
        assert isinstance(vlan, int)
    return Match(
        endpoint=None if one.endpoint is None else _name(one.endpoint),
        eth_src=None if one.eth_src is None else _mac(one.eth_src),
        eth_dst=None if one.eth_dst is None else _mac(one.eth_dst),
        eth_type=None if one.eth_type is None else _type(one.eth_type),
        vlan=vlan,
        ipv4_src=None if one.ipv4_src is None else _ipv4(one.ipv4_src),
        ipv4_dst=None if one.ipv4_dst is None else _ipv4(one.ipv4_dst),
        ipv6_src=None if one.ipv6_src is None else _ipv6(one.ipv6_src),
        ipv6_dst=None if one.ipv6_dst is None else _ipv6(one.ipv6_dst),
        ip_proto=None if one.ip_proto is None else _proto(one.ip_proto),
        dscp=one.dscp,
        fragment=one.fragment,
        l4_src=None if one.l4_src is None else _ports(one.l4_src),
        l4_dst=None if one.l4_dst is None else _ports(one.l4_dst),
        tcp_flags=None if one.tcp_flags is None else form.tcp_flags(one.tcp_flags),
    )


# -- the other way

_encoder = msgspec.json.Encoder()


@lru_cache(_CACHED)
def _ipv4_text(address: int, prefix_len: int) -> str:
    return f"{IPv4Address(address)}/{prefix_len}"


def encode_flowspace(one: Flowspace) -> bytes:
    """As `render_flowspace` has it."""
    if one.under is not None or one.readers:
        return _encoder.encode(render_flowspace(one))
    return _encoder.encode(
        _Flowspace(
            one.priority,
            _match_form(one.match),
            one.slice,
            one.treatment,
            one.bidirectional,
            None if one.rate is None else render_rate(one.rate),
        )
    )


def _match_form(one: Match) -> _Match:
    proto, kind, vlan = one.ip_proto, one.eth_type, one.vlan
    source, target = one.ipv4_src, one.ipv4_dst
    low, high = one.l4_src, one.l4_dst
    return _Match(
        one.endpoint,
        None if one.eth_src is None else str(one.eth_src),
        None if one.eth_dst is None else str(one.eth_dst),
        None if kind is None else form.ETH_NAMES.get(kind, kind),
        "untagged" if vlan == UNTAGGED else vlan,
        None if source is None else _ipv4_text(int(source.network_address), source.prefixlen),
        None if target is None else _ipv4_text(int(target.network_address), target.prefixlen),
        None if one.ipv6_src is None else str(one.ipv6_src),
        None if one.ipv6_dst is None else str(one.ipv6_dst),
        None if proto is None else form.IP_NAMES.get(proto, proto),
        one.dscp,
        one.fragment,
        None if low is None else render_ports(low),
        None if high is None else render_ports(high),
        None if one.tcp_flags is None else render_flags(one.tcp_flags),
    )
