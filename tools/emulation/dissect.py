"""What tshark makes of captured frames: whether our own headers are beyond reproach.

Our headers are the first of each frame: Ethernet, IPv4, GRE. What is inside is the tenants'.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as Xml
from pathlib import Path

from emulation.errors import EmulationError
from emulation.nodes import decode

WARNING = 0x600000  # wireshark's expert severities: note 0x400000, warning, error 0x800000
OURS = ("frame", "eth", "ip", "gre")
_CHECK = "ip.check_checksum:TRUE"  # tshark leaves it to the network card unless told
TSHARK_TIMEOUT_S = 60.0


def complaints(file: Path) -> list[str]:
    """Expert items of warning or worse about our headers, and frames that tshark cannot dissect."""
    found = []
    for packet in Xml.fromstring(_pdml(file)).iter("packet"):
        number = next(
            f.get("show") for f in packet.iter("field") if f.get("name") == "frame.number"
        )
        seen: set[str] = set()
        for layer in packet.findall("proto"):
            name = layer.get("name", "")
            if name == "_ws.malformed":
                found.append(f"frame {number}: malformed")
            if name in seen or name not in OURS:
                continue  # the tenant's
            seen.add(name)
            found += [f"frame {number}: {name}: {text}" for text in _warnings(layer)]
    return found


def plain_gre(file: Path) -> int:
    """How many frames are Ethernet / IPv4 / GRE / Ethernet to tshark."""
    protocols = decode(file, ["frame.protocols"], only="gre.key")
    start = "eth:ethertype:ip:gre:eth:"
    return sum(chain.startswith(start) for (chain,) in protocols)


def _warnings(layer: Xml.Element) -> list[str]:
    found = []
    for item in layer.iter("field"):
        if item.get("name") != "_ws.expert":
            continue
        parts = {part.get("name"): part.get("show", "") for part in item.iter("field")}
        if int(parts.get("_ws.expert.severity", "0")) >= WARNING:
            found.append(parts.get("_ws.expert.message", "?"))
    return found


def _pdml(file: Path) -> str:
    argv = ["tshark", "-n", "-r", str(file), "-T", "pdml", "-o", _CHECK]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=TSHARK_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise EmulationError(f"tshark cannot read {file}: {done.stderr.strip()}")
    return done.stdout
