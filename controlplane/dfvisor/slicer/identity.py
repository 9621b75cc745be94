"""Who a client is by its certificate: the tenant and the roles that it may take. Pure.

A certificate says so in its subject alternative names, as URIs: `dfvisor://tenant/<name>` once, and
`dfvisor://role/<role>` for each role. `*` stands for any tenant, or for any one part of a role:
`dfvisor://role/slice/red/*`. With tenant `*` it is the provider's, whose controllers serve all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from dfvisor.slicer.refusal import denied
from dfvisor.slicer.roles import Role

TENANT = "dfvisor://tenant/"
ROLE = "dfvisor://role/"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate allows."""

    tenant: str
    roles: tuple[str, ...]
    fingerprint: str

    @property
    def provider(self) -> bool:
        return self.tenant == ANY

    @classmethod
    def of(cls, auth_context: Mapping[str, Iterable[bytes]]) -> Self:
        """The identity in gRPC's authentication context; Refused if the certificate has none."""
        names = [
            name.decode("utf-8", "replace")
            for name in auth_context.get("x509_subject_alternative_name", ())
        ]
        tenants = [name[len(TENANT) :] for name in names if name.startswith(TENANT)]
        if len(tenants) != 1 or not tenants[0]:
            raise denied(f"the certificate names {len(tenants)} tenants, expected {TENANT}<name>")
        roles = tuple(name[len(ROLE) :] for name in names if name.startswith(ROLE))
        pem = b"".join(auth_context.get("x509_pem_cert", ()))
        return cls(tenants[0], roles, hashlib.sha256(pem).hexdigest())

    def check(self, role: Role, tenant: str | None) -> None:
        """Refused unless the certificate lets its owner take the role, in a VN of this tenant."""
        wanted = str(role).split("/")
        if not any(_fits(pattern.split("/"), wanted) for pattern in self.roles):
            allowed = ", ".join(self.roles) or "none"
            raise denied(f"the certificate does not name role {role}; it names {allowed}")
        if not self.provider and self.tenant != tenant:
            raise denied(
                f"virtual network {role.vn} is not tenant {self.tenant}'s, whom the certificate "
                f"names"
            )


ANYBODY = Identity(ANY, ("*/*", "*/*/*"), "")
"""Without TLS, on loopback: whoever is on this machine."""


def _fits(pattern: list[str], wanted: list[str]) -> bool:
    return len(pattern) == len(wanted) and all(
        one in (ANY, other) for one, other in zip(pattern, wanted, strict=True)
    )
