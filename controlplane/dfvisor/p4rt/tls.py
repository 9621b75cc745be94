"""Certificates of P4Runtime connections: read from PEM files, used on either side."""

from __future__ import annotations

import argparse
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from dfvisor.errors import SwitchError


@dataclass(frozen=True, slots=True)
class Credentials:
    """Own certificate chain and key, and the authority that the other side's must be signed by."""

    certificate: bytes
    key: bytes
    authority: bytes

    @classmethod
    def load(cls, certificate: Path, key: Path, authority: Path) -> Self:
        """Read PEM files; SwitchError names the one that can't be read."""
        parts = []
        for path in (certificate, key, authority):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise SwitchError(f"{path}: {error.strerror}") from error
            if b"-----BEGIN " not in data:
                raise SwitchError(f"{path}: not a PEM file")
            parts.append(data)
        return cls(*parts)

    def for_server(self) -> grpc.ServerCredentials:
        """Clients must have a certificate of the authority."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)], self.authority, require_client_auth=True
        )

    def for_client(self) -> grpc.ChannelCredentials:
        """The server must have a certificate of the authority."""
        return grpc.ssl_channel_credentials(self.authority, self.key, self.certificate)


def is_local(address: str) -> bool:
    """Whether nobody but this machine can reach a gRPC address."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def add_arguments(parser: argparse.ArgumentParser, where: str) -> None:
    """The three options of a daemon that has a certificate."""
    group = parser.add_argument_group(f"TLS {where} (all three or none)")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="own certificate, PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    group.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="the authority of the other side, PEM"
    )


def given(options: argparse.Namespace) -> Credentials | None:
    """The credentials that the options name, None without them; SwitchError for a part of them."""
    paths = (options.tls_cert, options.tls_key, options.tls_ca)
    if all(path is None for path in paths):
        return None
    if any(path is None for path in paths):
        raise SwitchError("--tls-cert, --tls-key and --tls-ca go together")
    return Credentials.load(*paths)
