"""Probes and announcements: what is in them, and what is made of what comes back."""

from __future__ import annotations

import pytest
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.agent.probing import (
    Echo,
    announcement,
    is_probe,
    probe,
    probe_items,
    read_announcement,
    read_echo,
)
from dfvisor.agent.site import look
from dfvisor.model.types import PortRef
from dfvisor.p4rt.drops import PuntReason
from dfvisor.p4rt.entries import TableEntry, by_key
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.streamed import PacketIn, encode_packet_out
from hypothesis import given
from hypothesis import strategies as st

from .networks import MemoryNumbers, demo

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())
SITE = look(demo().fabric, "s1")
assert SITE is not None
COME_BACK = {"slice_id": 4095, "reason": PuntReason.TOO_BIG, "port": 1}


def test_probe_that_comes_back_is_told_by_port_and_number() -> None:
    sent = probe(SITE.device_id, SITE.cables[0], 77)
    assert encode_packet_out(SCHEMA, sent).payload == sent.payload
    came = PacketIn(sent.payload, COME_BACK)
    assert is_probe(came)
    assert read_echo(SITE.device_id, came) == Echo(port=1, number=77, received=1)
    assert read_echo(2, came) is None  # another switch's


@pytest.mark.parametrize("change", [{"slice_id": 1}, {"reason": PuntReason.DISCOVERY}])
def test_what_did_not_come_by_the_probes_tunnel_is_no_probe(change: dict[str, int]) -> None:
    assert not is_probe(PacketIn(b"", COME_BACK | change))


@given(st.binary(max_size=80))
def test_rubbish_is_neither_probe_nor_announcement(frame: bytes) -> None:
    assert read_echo(1, PacketIn(frame, COME_BACK)) is None
    assert read_announcement(frame) is None


@given(st.data())
def test_damaged_announcement_does_no_harm(data: st.DataObject) -> None:
    frame = bytearray(announcement(PortRef("s1", 3), 1).payload)
    for place in data.draw(st.sets(st.integers(12, len(frame) - 1), max_size=4)):
        frame[place] = data.draw(st.integers(0, 255))
    found = read_announcement(bytes(frame[: data.draw(st.integers(0, len(frame)))]))
    assert found is None or isinstance(found, PortRef)


def test_announcement_names_its_port() -> None:
    sent = announcement(PortRef("leaf-7.b", 509), SITE.mac)
    assert sent.metadata == {"port": 509}
    assert read_announcement(sent.payload) == PortRef("leaf-7.b", 509)


def test_both_ends_of_a_link_agree_on_the_addresses_of_its_probes() -> None:
    sites = [look(demo().fabric, name) for name in ("s1", "s2")]
    tables = []
    for site in sites:
        assert site is not None
        items = list(probe_items(site, MemoryNumbers()))
        assert len(by_key(items)) == len(items)
        assert all(SCHEMA.decode(SCHEMA.encode(item)) == item for item in items)
        tables.append(
            {
                tuple(match.value for _, match in item.key): item.arg("next_hop")
                for item in items
                if isinstance(item, TableEntry) and item.table == "bridge"
            }
        )
    target = int.from_bytes(probe(1, SITE.cables[0], 1).payload[:6], "big")
    here, there = tables
    assert here[0xFFFF, target] != here[0, target]  # off by the port; to the agent on return
    assert (0, target) in there and (0xFFFF, target) not in there  # sent back
