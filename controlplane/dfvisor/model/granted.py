"""Grants: their plain form, and what in a virtual network is outside its grant. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from dfvisor.model import plain as form
from dfvisor.model.grants import Grant, Span
from dfvisor.model.plain import Fields, Problems
from dfvisor.model.rates import render_bps
from dfvisor.model.records import Endpoint, VirtualNetwork
from dfvisor.model.source import Path, Plain
from dfvisor.model.ternary import expand
from dfvisor.model.types import MAX_PORT

MAX_COUNT = 10_000_000

Outside = tuple[Path, str]


def parse_grant(label: str, value: Plain, path: Path, problems: Problems) -> Grant | None:
    fields = Fields(value, path, problems)
    grant = Grant(
        vn=label,
        tenant=fields.need("tenant", form.name, ""),
        keys=fields.take("keys", form.sequence(form.span(1, form.MAX_KEY)), None),
        ports=fields.take("ports", _ports, None),
        peers=fields.take("peers", form.sequence(form.name), None),
        max_slices=fields.take("max_slices", form.integer(1, MAX_COUNT), None),
        max_flowspaces=fields.take("max_flowspaces", form.integer(0, MAX_COUNT), None),
        max_endpoints=fields.take("max_endpoints", form.integer(0, MAX_COUNT), None),
        max_flow_entries=fields.take("max_flow_entries", form.integer(0, MAX_COUNT), None),
        max_rate_bps=fields.take("max_rate", form.bit_rate, None),
        max_queue=fields.take("max_queue", form.integer(0, 7), None),
        controllers=fields.take("controllers", form.sequence(form.name), ()),
    )
    return grant if fields.end() else None


@form.described(
    type="object",
    propertyNames={"pattern": f"^{form.NAME.pattern}$"},
    additionalProperties=form.sequence(form.span(1, MAX_PORT)),
)
def _ports(value: Plain) -> dict[str, tuple[Span, ...]]:
    if not isinstance(value, dict):
        raise ValueError('expected a mapping of switches to ports, like {s1: ["11-19"]}')
    ranges = form.sequence(form.span(1, MAX_PORT))
    return {form.name(switch): ranges(ports) for switch, ports in value.items()}


def render_grant(grant: Grant) -> dict[str, Plain]:
    """What `parse_grant` reads back as the same grant."""
    plain: dict[str, Plain] = {"tenant": grant.tenant}
    if grant.keys is not None:
        plain["keys"] = _render_spans(grant.keys)
    if grant.ports is not None:
        plain["ports"] = {name: _render_spans(ports) for name, ports in grant.ports.items()}
    if grant.peers is not None:
        plain["peers"] = list(grant.peers)
    for name in ("max_slices", "max_flowspaces", "max_endpoints", "max_flow_entries"):
        if getattr(grant, name) is not None:
            plain[name] = getattr(grant, name)
    if grant.max_rate_bps is not None:
        plain["max_rate"] = render_bps(grant.max_rate_bps)
    if grant.max_queue is not None:
        plain["max_queue"] = grant.max_queue
    if grant.controllers:
        plain["controllers"] = list(grant.controllers)
    return plain


def _render_spans(spans: Iterable[Span]) -> list[Plain]:
    return [span.low if span.low == span.high else str(span) for span in spans]


def outside(vn: VirtualNetwork, grant: Grant) -> Iterator[Outside]:
    """Everything in the VN that its grant does not allow: where, and why not."""
    path = ("vns", vn.name)
    if vn.tenant != grant.tenant:
        yield (
            (*path, "tenant"),
            f"the network is granted to tenant {grant.tenant!r}, not {vn.tenant!r}",
        )
    for what, most, count in (
        ("slices", grant.max_slices, len(vn.slices)),
        ("flowspaces", grant.max_flowspaces, len(vn.flowspaces)),
        ("endpoints", grant.max_endpoints, len(vn.endpoints)),
    ):
        if most is not None and count > most:
            yield (*path, what), f"{count} {what}, {most} granted"
    if grant.keys is not None:
        for slice_ in vn.slices.values():
            if not _holds(grant.keys, slice_.key):
                yield (
                    (*path, "slices", slice_.name, "key"),
                    f"{slice_.key} is outside the granted GRE keys {_show(grant.keys)}",
                )
    for endpoint in vn.endpoints.values():
        yield from _place(endpoint, grant, (*path, "endpoints", endpoint.name))
    if grant.max_queue is not None:
        for profile in vn.profiles.values():
            if profile.queue > grant.max_queue:
                yield (
                    (*path, "profiles", profile.name, "queue"),
                    f"{profile.queue} is above queue {grant.max_queue}, the highest granted",
                )
    if grant.max_rate_bps is not None:
        yield from _rates(vn, grant.max_rate_bps, (*path, "slices"))
    if grant.max_flow_entries is not None:
        yield from _entries(vn, grant.max_flow_entries, (*path, "slices"))


def _place(endpoint: Endpoint, grant: Grant, path: Path) -> Iterator[Outside]:
    port, peer = endpoint.port, endpoint.peer
    if port is not None and grant.ports is not None:
        ports = grant.ports.get(port.switch, ())
        if not _holds(ports, port.port):
            granted = f"granted of {port.switch}: {_show(ports)}" if ports else "none is granted"
            yield (*path, "port"), f"{port} is outside the granted ports ({granted})"
    if peer is not None and grant.peers is not None and peer not in grant.peers:
        granted = ", ".join(grant.peers) or "none"
        yield (*path, "peer"), f"{peer} is not among the granted peers ({granted})"


def _rates(vn: VirtualNetwork, most_bps: int, path: Path) -> Iterator[Outside]:
    total = 0
    for slice_ in vn.slices.values():
        profile = vn.profiles.get(slice_.profile) if slice_.profile is not None else None
        if profile is None:
            continue  # best effort; or a reference that is reported elsewhere
        if profile.rate is None:
            yield (
                (*path, slice_.name, "profile"),
                f"profile {profile.name} has no rate, and {render_bps(most_bps)} are granted to "
                f"all slices together",
            )
        else:
            total += profile.rate.peak_bps
    if total > most_bps:
        yield (
            path,
            f"the peak rates of all slices add up to {render_bps(total)}, "
            f"{render_bps(most_bps)} granted",
        )


def _entries(vn: VirtualNetwork, most: int, path: Path) -> Iterator[Outside]:
    """What the slices' own flowspaces need at least; the slicer counts what is really there."""
    counts = {name: 0 for name, slice_ in vn.slices.items() if not slice_.best_effort}
    for flowspace in vn.flowspaces.values():
        if flowspace.slice in counts:
            counts[flowspace.slice] += len(
                expand(flowspace.match, bidirectional=flowspace.bidirectional)
            )
    for name, count in counts.items():
        if count > most:
            yield (
                (*path, name),
                f"its flowspaces need {count} flow entries at a switch, {most} granted",
            )


def clashes(
    grants: Mapping[str, Grant], vns: Mapping[str, VirtualNetwork]
) -> Iterator[tuple[Path, str]]:
    """GRE keys that are granted to two virtual networks, or granted to one and used by another."""
    spans = sorted(
        (span, name) for name, grant in grants.items() for span in dict.fromkeys(grant.keys or ())
    )
    reach: tuple[Span, str] | None = None  # the span so far that ends last
    for span, name in spans:
        if reach is not None and reach[0].meets(span) and reach[1] != name:
            yield ("grants", name, "keys"), f"{span} overlaps {reach[0]}, granted to {reach[1]}"
        if reach is None or span.high > reach[0].high:
            reach = (span, name)
    for vn in vns.values():
        grant = grants.get(vn.name)
        if grant is not None and grant.keys is not None:
            continue  # within its own keys, which are nobody else's
        for slice_ in vn.slices.values():
            owner = owner_of(spans, slice_.key)
            if owner is not None:
                yield (
                    ("vns", vn.name, "slices", slice_.name, "key"),
                    f"{slice_.key} is granted to {owner}",
                )


def owner_of(spans: Sequence[tuple[Span, str]], key: int) -> str | None:
    """Whose the key is; `spans` are sorted and do not meet."""
    low, high = 0, len(spans)
    while low < high:
        middle = (low + high) // 2
        if spans[middle][0].low <= key:
            low = middle + 1
        else:
            high = middle
    if low and key in spans[low - 1][0]:
        return spans[low - 1][1]
    return None


def _holds(spans: Iterable[Span], number: int) -> bool:
    return any(number in span for span in spans)


def _show(spans: Iterable[Span]) -> str:
    return ", ".join(map(str, spans)) or "(none)"
