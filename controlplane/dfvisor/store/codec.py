"""Records of the global database to and from bytes: JSON with a schema version. Pure.

Records have the same plain form as in description files, so there is one parser and one set of
checks; a record that cannot be read raises StoreError naming it, and is never taken for an absent
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from dfvisor.errors import StoreError
from dfvisor.model import plain as form
from dfvisor.model.granted import parse_grant, render_grant
from dfvisor.model.grants import Grant
from dfvisor.model.named import Named, named
from dfvisor.model.plain import Problems
from dfvisor.model.records import (
    Endpoint,
    Flowspace,
    Link,
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
from dfvisor.model.source import Path, Plain
from dfvisor.store import bulk
from dfvisor.store.schema import WrongVersion, newest, upgrade

Record: TypeAlias = Profile | Slice | Endpoint | Flowspace
Key: TypeAlias = tuple[str, str]  # (kind, name): kinds are the collections of a VN
T = TypeVar("T")

KINDS = ("profiles", "slices", "endpoints", "flowspaces")


Reference: TypeAlias = tuple[str, str]  # (node name, content hash)


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """What one revision changed, by kind and name: records in their plain form, and names."""

    revision: int
    put: dict[str, dict[str, Any]] = {}
    drop: dict[str, tuple[str, ...]] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`/vns/<vn>/pages/<generation>-m`: prefix of the hash -> page."""

    pages: dict[str, Reference]
    schema: int = newest("Manifest")


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """`/vns/<vn>/revision`.

    The pages hold the records of revision `base` (None: of this one): few of them stand here as
    `pages`, more in the node that `manifest` names. `deltas` are the changes of the last revisions,
    oldest first and without a gap up to this one, at least all since `base`: who has the records of
    a revision before needs nothing else.

    `changes` are the uuids of the last changes, newest first: who lost the connection during a
    change looks here for the outcome. `origin` is the uuid of the change that
    created the VN: it tells a VN from a deleted one of the same name.
    """

    revision: int
    origin: str
    changes: tuple[str, ...]
    tenant: str
    unknown_unicast: str
    source_guard: bool = False
    learning: bool = False
    flood_pps: Annotated[int, msgspec.Meta(ge=1)] | None = None
    pages: dict[str, Reference] = {}
    manifest: Reference | None = None
    base: int | None = None
    deltas: tuple[Delta, ...] = ()
    schema: int = newest("Revision")

    @property
    def paged(self) -> int:
        """The revision that the pages hold."""
        return self.revision if self.base is None else self.base


class History(msgspec.Struct, frozen=True, kw_only=True):
    """`/history/<vn>/<revision>`: who made it and why, and what it takes to make it again.

    `record` is the revision without its deltas, `delta` its own change (None: its pages say it
    all); those in between are in the history, too. `put` and `dropped` count records. When it was
    made is the node's own time. `deleted`: not a revision, but the end of the VN after it.
    """

    record: Revision
    delta: Delta | None = None
    user: str = ""
    why: str = ""
    put: int = 0
    dropped: int = 0
    deleted: bool = False
    schema: int = newest("History")


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """`/vns/<vn>/present`: the switches under which the index has the VN.

    `switches` are those of the VN's `revision`; those of `leaving` it does not need any more, but
    until it is activated their entries stay.
    """

    switches: tuple[str, ...] = ()
    leaving: tuple[str, ...] = ()
    revision: int = 0
    schema: int = newest("Present")


class FabricRevision(msgspec.Struct, frozen=True, kw_only=True):
    """`/fabric/revision`."""

    revision: int
    changes: tuple[str, ...]
    schema: int = newest("FabricRevision")


class Retired(msgspec.Struct, frozen=True, kw_only=True):
    """`/retired/<vn>`: the last revision number used when the VN was deleted; 0 before that."""

    revision: int
    schema: int = newest("Retired")


def encode(value: Any) -> bytes:
    """Structs and plain values; the order of keys is kept."""
    return msgspec.json.encode(value)


def decode(data: bytes | msgspec.Raw, kind: type[T], path: str) -> T:
    """StoreError names the node and what is wrong with it."""
    try:
        found = msgspec.json.decode(data, type=kind)
        if getattr(found, "schema", None) in (None, newest(kind.__name__)):
            return found
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_other(data, kind, path, error)
    return _decode_other(data, kind, path, None)


def _decode_other(data: bytes, kind: type[T], path: str, error: Exception | None) -> T:
    """A record that is not of the newest version, or else the error."""
    try:
        plain = msgspec.json.decode(data)
        if isinstance(plain, dict) and plain.get("schema", 1) != newest(kind.__name__):
            body = upgrade(kind.__name__, plain)
            return msgspec.convert({**body, "schema": newest(kind.__name__)}, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, WrongVersion) as why:
        raise StoreError(f"{path}: bad record: {why}") from why
    raise StoreError(f"{path}: bad record: {error}") from error


def encode_plain(record: Mapping[str, Plain], kind: str) -> bytes:
    """A record in its plain form, with its version."""
    return encode({"schema": newest(kind), **record})


def decode_plain(data: bytes, kind: str, path: str) -> dict[str, Any]:
    """A record in its newest plain form, without its version; StoreError says what is wrong."""
    record = decode(data, dict[str, Any], path)
    if "schema" not in record:
        raise StoreError(f"{path}: bad record: its schema is missing")
    try:
        return upgrade(kind, record)
    except WrongVersion as error:
        raise StoreError(f"{path}: bad record: {error}") from error


# -- the records of a VN


def records_of(vn: VirtualNetwork) -> dict[Key, Record]:
    """All records of the VN by kind and name."""
    found: dict[Key, Record] = {}
    found |= {("profiles", name): record for name, record in vn.profiles.items()}
    found |= {("slices", name): record for name, record in vn.slices.items()}
    found |= {("endpoints", name): record for name, record in vn.endpoints.items()}
    found |= {("flowspaces", name): record for name, record in vn.flowspaces.items()}
    return found


def settings_of(vn: VirtualNetwork) -> VirtualNetwork:
    """The VN without its records: what is its own."""
    return replace(vn, profiles={}, slices={}, endpoints={}, flowspaces={})


def settings_in(name: str, revision: Revision, path: str) -> VirtualNetwork:
    """The VN without its records, as the revision has it; StoreError names `path`."""
    try:
        unknown_unicast = UnknownUnicast(revision.unknown_unicast)
    except ValueError as error:
        raise StoreError(f"{path}: bad record: {error}") from error
    return VirtualNetwork(
        name=name,
        tenant=revision.tenant,
        unknown_unicast=unknown_unicast,
        source_guard=revision.source_guard,
        learning=revision.learning,
        flood_pps=revision.flood_pps,
    )


def assemble(
    settings: VirtualNetwork,
    records: Iterable[tuple[Key, Record]],
    later: Mapping[Key, Record | None] = MappingProxyType({}),
    base: VirtualNetwork | None = None,
) -> VirtualNetwork:
    """The VN of these settings with these records, changed by the `later` ones (None: without).
    They are in order of their names, unless they come from those of `base`: a VN that was read
    before, to which the new one can then be compared at the cost of what differs.
    """
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
    for (kind, name), record in records:
        kinds[kind][name] = record
    for (kind, name), one in later.items():
        if one is None:
            kinds[kind].pop(name, None)
        else:
            kinds[kind][name] = one
    found: dict[str, Any] = {}
    for kind, held in kinds.items():
        if base is None:
            found[kind] = Named({name: held[name] for name in sorted(held)})
        else:
            before: Named[Any] = named(getattr(base, kind))
            found[kind] = before.replaced(held)
    return replace(settings, **found)


def plain_record(record: Record) -> dict[str, Plain]:
    """The record in its plain form."""
    match record:
        case Profile():
            return render_profile(record)
        case Slice():
            return render_slice(record)
        case Endpoint():
            return render_endpoint(record)
        case Flowspace():
            return render_flowspace(record)


def encode_record(record: Record) -> bytes:
    """The record alone; equal records give equal bytes."""
    if isinstance(record, Flowspace):
        return bulk.encode_flowspace(record)
    return encode(plain_record(record))


def encode_page(records: Iterable[tuple[Key, bytes]]) -> bytes:
    """A page of encoded records, in order of kind and name."""
    kinds: dict[str, dict[str, msgspec.Raw]] = {}
    for (kind, name), data in sorted(records):
        kinds.setdefault(kind, {})[name] = msgspec.Raw(data)
    return encode({"schema": newest("page"), **kinds})


_PARSERS: dict[str, Callable[[str, Plain, Path, Problems], Record | None]] = {
    "profiles": form.parse_profile,
    "slices": form.parse_slice,
    "endpoints": form.parse_endpoint,
    "flowspaces": form.parse_flowspace,
}


_NOTHING = msgspec.Raw(b"null")


def decode_page(data: bytes, path: str) -> dict[Key, Record]:
    """The records of a page; StoreError lists every one that cannot be read."""
    page = decode(data, dict[str, msgspec.Raw], path)
    if bytes(page.pop("schema", _NOTHING)) != b"%d" % newest("page"):
        return decode_records(decode_plain(data, "page", path), path)
    many = bulk.flowspaces(page.get("flowspaces", _NOTHING))
    if many is not None:
        page.pop("flowspaces", None)
    found = decode_records({kind: decode(raw, Any, path) for kind, raw in page.items()}, path)
    if many is not None:
        found.update({("flowspaces", name): one for name, one in many.items()})
    return found


def decode_records(plain: Mapping[str, Any], path: str) -> dict[Key, Record]:
    """Records by kind and name from their plain form; StoreError lists every bad one."""
    problems = Problems()
    found: dict[Key, Record] = {}
    for kind, held in plain.items():
        if kind not in _PARSERS or not isinstance(held, dict):
            raise StoreError(f"{path}: bad record: there are no {kind!r}")
        parse = _PARSERS[kind]
        for name, value in held.items():
            record = parse(name, value, (kind, name), problems)
            if record is not None:
                found[kind, name] = record
    _no_problems(problems, path)
    return found


# -- the provider's records


def encode_switch(switch: Switch) -> bytes:
    return encode_plain(render_switch(switch), "switch")


def encode_link(link: Link) -> bytes:
    return encode_plain(render_link(link), "link")


def encode_peer(peer: Peer) -> bytes:
    return encode_plain(render_peer(peer), "peer")


def encode_grant(grant: Grant) -> bytes:
    return encode_plain(render_grant(grant), "grant")


def encode_tenant(_: Tenant) -> bytes:
    return encode_plain({}, "tenant")


def decode_switch(data: bytes, name: str, path: str) -> Switch:
    problems = Problems()
    switch = form.parse_switch(name, decode_plain(data, "switch", path), (), problems)
    return _checked(switch, problems, path)


def decode_link(data: bytes, path: str) -> Link:
    problems = Problems()
    link = form.parse_link(decode_plain(data, "link", path), (), problems)
    return _checked(link, problems, path)


def decode_peer(data: bytes, name: str, path: str) -> Peer:
    problems = Problems()
    peer = form.parse_peer(name, decode_plain(data, "peer", path), (), problems)
    return _checked(peer, problems, path)


def decode_grant(data: bytes, vn: str, path: str) -> Grant:
    problems = Problems()
    grant = parse_grant(vn, decode_plain(data, "grant", path), (), problems)
    return _checked(grant, problems, path)


def decode_tenant(data: bytes, name: str, path: str) -> Tenant:
    problems = Problems()
    tenant = form.parse_tenant(name, decode_plain(data, "tenant", path), (), problems)
    return _checked(tenant, problems, path)


def _checked(record: T | None, problems: Problems, path: str) -> T:
    _no_problems(problems, path)
    if record is None:
        raise StoreError(f"{path}: bad record")
    return record


def _no_problems(problems: Problems, path: str) -> None:
    if problems.found:
        listed = "; ".join(str(problem) for problem in problems.found)
        raise StoreError(f"{path}: bad record: {listed}")
