"""The compiled P4 program that the agent gives its switch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import dfvisor
from dfvisor.errors import SwitchError
from dfvisor.p4rt.p4info import Schema

JSON_NAME = "dfvisor.json"
P4INFO_NAME = "dfvisor.p4info.txtpb"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """P4Info and BMv2 JSON; `cookie` (64 bits) is their hash, by which a switch is recognised."""

    schema: Schema
    device_config: bytes
    cookie: int

    @classmethod
    def load(cls, json_path: Path, p4info_path: Path) -> Self:
        """Read the two files; SwitchError names the one that cannot be read."""
        try:
            device_config = json_path.read_bytes()
            p4info = p4info_path.read_bytes()
        except OSError as error:
            raise SwitchError(f"cannot read {error.filename}: {error.strerror}") from error
        digest = hashlib.sha256(p4info + b"\0" + device_config).digest()
        cookie = int.from_bytes(digest[:8], "big") or 1
        return cls(Schema.load(p4info.decode()), device_config, cookie)


def default_directory() -> Path:
    """Where the compiled program is: in the package, or in the source tree around it."""
    package = Path(dfvisor.__file__).parent
    packaged = package / "bmv2_configs"
    return packaged if packaged.is_dir() else package.parents[1] / "bmv2_configs"
