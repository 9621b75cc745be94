"""That tshark's complaints about our headers are found, and the tenants' are not taken for ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from emulation.dissect import complaints, plain_gre
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import GRE, Ether
from scapy.packet import Packet, Raw
from scapy.utils import wrpcap


def frame(outer: Packet, inner: Packet | None = None) -> Packet:
    tenant = inner or IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2) / Raw(b"x" * 20)
    ethernet = Ether(src="02:df:00:00:00:01", dst="02:df:00:00:00:02")
    gre = GRE(key_present=1, key=70000, proto=0x6558)
    return ethernet / outer / gre / Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / tenant


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (IP(), None, 0),
        (IP(chksum=1), None, 1),
        (IP(len=9000), None, 1),
        (IP(), IP(src="10.0.0.1", dst="10.0.0.2", chksum=1) / UDP(sport=1, dport=2), 0),
    ],
    ids=["good", "outer checksum", "outer length", "tenant's checksum"],
)
def test_complaints_are_those_about_our_own_headers(
    tmp_path: Path, outer: Packet, inner: Packet | None, expected: int
) -> None:
    file = tmp_path / "one.pcap"
    wrpcap(str(file), [frame(outer, inner)])
    assert len(complaints(file)) == expected


def test_plain_gre_counts_frames_of_the_tunnel_only(tmp_path: Path) -> None:
    file = tmp_path / "two.pcap"
    good = frame(IP(src="192.0.2.1", dst="192.0.2.2"))
    other = Ether(src="02:df:00:00:00:01", dst="02:df:00:00:00:02") / IP() / UDP()
    wrpcap(str(file), [good, other, good])
    assert plain_gre(file) == 2
