"""What the switch sends unasked is counted, and bounded."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from dfvisor.agent.inbox import (
    KEPT_PACKETS,
    LearnReport,
    PacketLog,
    learn_reports,
)
from dfvisor.p4rt.streamed import DigestList, PacketIn


def packet(reason: int, payload: bytes = b"") -> PacketIn:
    return PacketIn(payload, {"port": 1, "reason": reason})


def test_packets_are_counted_by_reason_and_the_first_of_each_is_told() -> None:
    log = PacketLog()
    assert [log.take(packet(reason)) for reason in (3, 3, 1, 77)] == [True, False, True, True]
    assert log.counts == {"discovery": 2, "flow_miss": 1, "reason 77": 1}


def test_packet_log_keeps_the_newest() -> None:
    log = PacketLog()
    for number in range(KEPT_PACKETS + 5):
        log.take(packet(4, number.to_bytes(2, "big")))
    assert len(log.packets) == KEPT_PACKETS
    assert log.packets[0].payload == (5).to_bytes(2, "big")
    assert log.counts["arp"] == KEPT_PACKETS + 5


def test_reports_of_group_addresses_are_left_out() -> None:
    received = DigestList(
        "learn_t",
        1,
        tuple(report(mac) for mac in (0x02, 0x0100_0000_0000, 0)),
    )
    assert learn_reports(received) == [LearnReport(2, 11, 2)]


def report(mac: int, **address: int) -> dict[str, int]:
    said = {"ipv4": 0, "ipv6_high": 0, "ipv6_low": 0, **address}
    return {"vn": 2, "port": 11, "mac": mac, **said}


def test_reports_say_which_address_a_sender_has() -> None:
    received = DigestList(
        "learn_t",
        1,
        (report(1, ipv4=0x0A00_0001), report(1, ipv6_high=0xFD << 56, ipv6_low=7)),
    )
    assert [one.ip for one in learn_reports(received)] == [
        IPv4Address("10.0.0.1"),
        IPv6Address("fd00::7"),
    ]
