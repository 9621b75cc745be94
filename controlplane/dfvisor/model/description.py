"""Network descriptions: what people write, as files in YAML or JSON, whole or in fragments.

    description = read(text, source="demo.yaml")     # everything that the file says
    network = plan(current, description)             # merged and validated, or DescriptionError

Pure, except `load`. A fragment's named records replace those of the same name; all others stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from dfvisor.errors import DescriptionError, Problem
from dfvisor.model import plain as form
from dfvisor.model.granted import parse_grant, render_grant
from dfvisor.model.grants import Grant
from dfvisor.model.plain import Fields, Problems
from dfvisor.model.records import (
    Endpoint,
    Fabric,
    Flowspace,
    Link,
    Network,
    Peer,
    Profile,
    Slice,
    Switch,
    Tenant,
    UnknownUnicast,
    VirtualNetwork,
)
from dfvisor.model.render import (
    render_endpoint,
    render_flowspace,
    render_link,
    render_peer,
    render_profile,
    render_slice,
    render_switch,
)
from dfvisor.model.source import Path, Plain, Source, read_json, read_yaml
from dfvisor.model.validate import validate

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VnPart:
    """What a description says about one VN; None and absent names leave things as they are."""

    name: str
    tenant: str | None = None
    unknown_unicast: UnknownUnicast | None = None
    source_guard: bool | None = None
    learning: bool | None = None
    flood_pps: int | None = None  # 0: unlimited
    profiles: dict[str, Profile] = field(default_factory=dict)
    slices: dict[str, Slice] = field(default_factory=dict)
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    flowspaces: dict[str, Flowspace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What one file says, with the problems of the file itself and the line of each path."""

    source: str = ""
    switches: dict[str, Switch] = field(default_factory=dict)
    links: tuple[Link, ...] = ()
    peers: dict[str, Peer] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    vns: dict[str, VnPart] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    lines: Mapping[Path, int] = field(default_factory=dict)
    broken: frozenset[Path] = frozenset()


def load(path: FilePath | str) -> Description:
    """Read a file: JSON if its name ends in .json, else YAML. Raises DescriptionError."""
    file = FilePath(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise DescriptionError(
            [Problem(path="file", message=f"cannot be read: {reason}")], str(path)
        ) from error
    return read(text, source=str(path), as_json=file.suffix == ".json")


def load_network(path: FilePath | str) -> Network:
    """Read a file that describes a whole network; DescriptionError lists all problems."""
    return plan(Network(), load(path))


def read(text: str, *, source: str = "", as_json: bool = False, locate: bool = True) -> Description:
    """Everything that the text says. Problems are collected in the result, not raised.

    `locate` False saves the time to find the lines of a JSON text.
    """
    found = read_json(text, locate=locate) if as_json else read_yaml(text)
    problems = Problems(found.lines)
    problems.found.extend(found.problems)
    if found.value is None and found.problems:
        return Description(source=source, problems=found.problems, lines=found.lines)

    return _read(found, problems, source)


def _read(found: Source, problems: Problems, source: str) -> Description:
    top = Fields(found.value, (), problems)
    top.take("schema", form.integer(SCHEMA, SCHEMA), SCHEMA)
    switches = top.named("switches", form.parse_switch)
    links, link_lines = _read_links(top.take("links", _list, []), problems)
    peers = top.named("peers", form.parse_peer)
    tenants = top.named("tenants", form.parse_tenant)
    grants = top.named("grants", parse_grant)
    vns = top.named("vns", _read_vn)
    top.end()
    return Description(
        source=source,
        switches=switches,
        links=links,
        peers=peers,
        tenants=tenants,
        grants=grants,
        vns=vns,
        problems=tuple(problems.found),
        lines={**found.lines, **link_lines},
        broken=frozenset(problems.broken),
    )


def merge(network: Network, description: Description) -> Network:
    """The network after the description: its records replace those of the same name."""
    links = {form.link_name(cable): cable for cable in network.fabric.links}
    links |= {form.link_name(cable): cable for cable in description.links}
    return Network(
        fabric=Fabric(
            switches=network.fabric.switches | description.switches,
            links=tuple(links[name] for name in sorted(links)),
            peers=network.fabric.peers | description.peers,
        ),
        tenants=network.tenants | description.tenants,
        grants=network.grants | description.grants,
        vns=network.vns
        | {name: _merge_vn(network.vns.get(name), part) for name, part in description.vns.items()},
    )


def check(network: Network, description: Description) -> tuple[Network, list[Problem]]:
    """The merged network, and every problem with the file or with the result; in file order."""
    merged = merge(network, description)
    problems = [*description.problems]
    if not (description.problems and not _says_anything(description)):
        problems += validate(merged, lines=description.lines, broken=description.broken)
    return merged, sorted(set(problems))


def plan(network: Network, description: Description) -> Network:
    """The merged network; DescriptionError with all problems if there is any."""
    merged, problems = check(network, description)
    if problems:
        raise DescriptionError(problems, description.source)
    return merged


def render(network: Network) -> dict[str, Plain]:
    """The description that says exactly this network."""
    return {
        "schema": SCHEMA,
        "switches": {n: render_switch(s) for n, s in network.fabric.switches.items()},
        "links": [render_link(cable) for cable in network.fabric.links],
        "peers": {name: render_peer(peer) for name, peer in network.fabric.peers.items()},
        "tenants": {name: {} for name in network.tenants},
        "grants": {name: render_grant(grant) for name, grant in network.grants.items()},
        "vns": {name: render_vn(vn) for name, vn in network.vns.items()},
    }


def render_vn(vn: VirtualNetwork) -> dict[str, Plain]:
    """A VN as it stands under `vns.<name>`."""
    return {
        "tenant": vn.tenant,
        "unknown_unicast": vn.unknown_unicast.value,
        "source_guard": vn.source_guard,
        "learning": vn.learning,
        "flood_pps": vn.flood_pps or "unlimited",
        "profiles": {n: render_profile(p) for n, p in vn.profiles.items()},
        "slices": {n: render_slice(s) for n, s in vn.slices.items()},
        "endpoints": {n: render_endpoint(e) for n, e in vn.endpoints.items()},
        "flowspaces": {n: render_flowspace(f) for n, f in vn.flowspaces.items()},
    }


@form.described(type="array", items=form.parse_link)
def _list(value: Plain) -> list[Plain]:
    if not isinstance(value, list):
        raise ValueError("expected a list of links")
    return value


def _read_links(
    values: list[Plain], problems: Problems
) -> tuple[tuple[Link, ...], dict[Path, int]]:
    """Links in order, and their lines under their own names (validation knows no list index)."""
    links: dict[str, Link] = {}
    lines: dict[Path, int] = {}
    for index, value in enumerate(values):
        path = ("links", str(index))
        cable = form.parse_link(value, path, problems)
        if cable is None:
            continue
        name = form.link_name(cable)
        if name in links:
            problems.add(path, f"link {name} is given twice")
            continue
        links[name] = cable
        lines["links", name] = problems.lines.get(path, 0)
    return tuple(links.values()), lines


def _read_vn(name: str, value: Plain, path: Path, problems: Problems) -> VnPart:
    fields = Fields(value, path, problems)
    part = VnPart(
        name=name,
        tenant=fields.take("tenant", form.name, None),
        unknown_unicast=fields.take("unknown_unicast", form.choice(UnknownUnicast), None),
        source_guard=fields.take("source_guard", form.boolean, None),
        learning=fields.take("learning", form.boolean, None),
        flood_pps=fields.take("flood_pps", form.limit_pps, None),
        profiles=fields.named("profiles", form.parse_profile),
        slices=fields.named("slices", form.parse_slice),
        endpoints=fields.named("endpoints", form.parse_endpoint),
        flowspaces=fields.named("flowspaces", form.parse_flowspace),
    )
    fields.end()
    return part


def _merge_vn(old: VirtualNetwork | None, part: VnPart) -> VirtualNetwork:
    if old is None:
        old = VirtualNetwork(name=part.name, tenant=part.tenant or "")
    return replace(
        old,
        tenant=part.tenant if part.tenant is not None else old.tenant,
        unknown_unicast=part.unknown_unicast or old.unknown_unicast,
        source_guard=old.source_guard if part.source_guard is None else part.source_guard,
        learning=old.learning if part.learning is None else part.learning,
        flood_pps=old.flood_pps if part.flood_pps is None else part.flood_pps or None,
        profiles=old.profiles | part.profiles,
        slices=old.slices | part.slices,
        endpoints=old.endpoints | part.endpoints,
        flowspaces=old.flowspaces | part.flowspaces,
    )


def _says_anything(description: Description) -> bool:
    return bool(
        description.switches
        or description.links
        or description.peers
        or description.tenants
        or description.grants
        or description.vns
    )


def parse_description(value: Plain, _: Path, problems: Problems) -> Description:
    """A description in its plain form."""
    return _read(Source(value), problems, "")
