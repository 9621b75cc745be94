"""Who may do what in the tree: pure.

`Access` names the principals of each role; `acl_of` says what each may do at a path. Everything but
the list of principals may be read by whoever can connect. ZooKeeper inherits nothing, so whoever
makes a node gives it its list; DELETE and CREATE are permissions of the node above.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from dfvisor.model import plain as form
from dfvisor.model.plain import Fields, Problems
from dfvisor.model.source import Path, Plain
from dfvisor.store import layout

_SCHEMES = ("x509", "digest", "sasl")
_HOLE = re.compile(r"\{(switch|tenant)\}")


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """Somebody, as the server knows him: `x509:CN=red,O=DFVisor`, `digest:red:HASH`, `sasl:red`."""

    scheme: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Principal:
        """ValueError names the text."""
        scheme, colon, identity = text.partition(":")
        if scheme not in _SCHEMES or not colon or not identity:
            raise ValueError(f"{text!r} is not like x509:CN=red, digest:red:HASH or sasl:red")
        return cls(scheme, identity)

    def __str__(self) -> str:
        return f"{self.scheme}:{self.id}"


def digest_id(user: str, password: str) -> str:
    """The id of a user of scheme `digest`: his name and the hash of both, never the password."""
    digest = hashlib.sha1(f"{user}:{password}".encode(), usedforsecurity=False).digest()
    return f"{user}:{base64.b64encode(digest).decode()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of an access control list: `permissions` are letters of `cdrwa`."""

    principal: Principal
    permissions: str


ANYONE = Principal("world", "anyone")
CREATOR = Principal("auth", "")
"""Whoever makes the node: the server puts his identities in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who is what. In `agents` and `tenants` the name `*` stands for all that are not named; in
    its principals `{switch}` and `{tenant}` stand for the name.
    """

    provider: tuple[Principal, ...] = ()
    controllers: tuple[Principal, ...] = ()
    agents: Mapping[str, tuple[Principal, ...]] = field(default_factory=dict)
    tenants: Mapping[str, tuple[Principal, ...]] = field(default_factory=dict)

    def agent(self, switch: str) -> tuple[Principal, ...]:
        return _named(self.agents, switch)

    def tenant(self, tenant: str) -> tuple[Principal, ...]:
        return _named(self.tenants, tenant)


def _named(principals: Mapping[str, tuple[Principal, ...]], name: str) -> tuple[Principal, ...]:
    if name in principals or not name:
        return principals.get(name, ())
    return tuple(
        Principal(one.scheme, _HOLE.sub(lambda _: name, one.id)) for one in principals.get("*", ())
    )


def parse_access(value: Plain, problems: Problems, path: Path = ()) -> Access:
    """From the plain form; what is wrong is added to `problems`."""
    fields = Fields(value, path, problems)
    access = Access(
        provider=fields.need("provider", _principals, ()),
        controllers=fields.take("controllers", _principals, ()),
        agents=fields.take("agents", _by_name, {}),
        tenants=fields.take("tenants", _by_name, {}),
    )
    if fields.given("provider") and not access.provider:
        fields.fail(("provider",), "nobody could change anything any more")
    fields.end()
    return access


def _principals(value: Plain) -> tuple[Principal, ...]:
    listed = value if isinstance(value, list) else [value]
    return tuple(Principal.parse(form.text(one)) for one in listed)


def _by_name(value: Plain) -> dict[str, tuple[Principal, ...]]:
    if not isinstance(value, dict):
        return {"*": _principals(value)}
    return {
        name if name == "*" else form.name(name): _principals(listed)
        for name, listed in value.items()
    }


def render_access(access: Access) -> dict[str, Plain]:
    """What `parse_access` reads back as the same."""
    return {
        "provider": _render(access.provider),
        "controllers": _render(access.controllers),
        "agents": {name: _render(listed) for name, listed in access.agents.items()},
        "tenants": {name: _render(listed) for name, listed in access.tenants.items()},
    }


def _render(principals: tuple[Principal, ...]) -> list[Plain]:
    return [str(one) for one in principals]


def acl_of(
    path: str, access: Access, tenants: Mapping[str, str], switches: Collection[str] = ()
) -> tuple[Entry, ...]:
    """The list of a node; `tenants` has the tenant of each VN."""
    if path == layout.DOWN:  # flat, for the sake of one watch: all agents share it
        who = tuple(dict.fromkeys(one for name in switches for one in access.agent(name)))
        permissions = "rcd"
    else:
        who, permissions = _writers(path.strip("/").split("/"), access, tenants)
    found = [] if path == layout.ACCESS else [Entry(principal=ANYONE, permissions="r")]
    found += [Entry(principal=one, permissions="cdrwa") for one in access.provider]
    if permissions:
        found += [Entry(principal=one, permissions=permissions) for one in who]
    return tuple(found)


def _writers(
    parts: list[str], access: Access, tenants: Mapping[str, str]
) -> tuple[tuple[Principal, ...], str]:
    """Who besides the provider may do more than read, and what."""
    match parts:
        case ["fabric", "access"]:
            return access.controllers, "r"
        case ["vns", vn, "revision"]:
            return access.tenant(tenants.get(vn, "")), "rw"
        case ["vns", vn, "pages"]:
            return access.tenant(tenants.get(vn, "")), "rcd"
        case ["history", vn]:
            return access.tenant(tenants.get(vn, "")), "rc"  # appended to, never shortened
        case ["vns", _, "active" | "present"]:
            return access.controllers, "rw"
        case ["present"]:
            return access.controllers, "rc"
        case ["present", _] | ["owners"] | ["owners", _]:
            return access.controllers, "rcd"
        case ["owners", _, _]:
            return access.controllers or (CREATOR,), "rw"
        case ["live", "agents", switch]:
            return access.agent(switch), "rcd"
        case (
            ["live", "agents", switch, _]
            | ["applied", switch]
            | ["seen", switch]
            | ["stats", switch, _]
        ):
            return access.agent(switch) or (CREATOR,), "rw"
        case ["stats", switch]:
            return access.agent(switch), "rwcd"
    return (), ""
