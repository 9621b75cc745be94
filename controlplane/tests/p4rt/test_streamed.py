"""Packets, digests and idle entries, by the compiled program's P4Info."""

from __future__ import annotations

import pytest
from dfvisor.agent.pipeline import P4INFO_NAME, default_directory
from dfvisor.p4rt.entries import Exact, TableEntry
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.streamed import (
    DigestList,
    PacketIn,
    PacketOut,
    decode_digest,
    decode_idle,
    decode_packet_in,
    encode_digest_ack,
    encode_packet_out,
)

SCHEMA = Schema.load((default_directory() / P4INFO_NAME).read_text())


def test_packet_out_has_every_field_of_the_header_in_order() -> None:
    sent = encode_packet_out(SCHEMA, PacketOut(b"frame", {"port": 300, "as_ingress": 1}))
    assert sent.payload == b"frame"
    assert [(one.metadata_id, one.value) for one in sent.metadata] == [
        (1, b"\x01\x2c"),
        (2, b"\x01"),
        (3, b"\x00"),
        (4, b"\x00"),
    ]


@pytest.mark.parametrize(
    ("metadata", "complaint"),
    [({"nope": 1}, "no field 'nope'"), ({"port": 512}, "packet_out.port: 0x200 does not fit")],
)
def test_packet_out_that_does_not_fit_is_refused(metadata: dict[str, int], complaint: str) -> None:
    with pytest.raises(SchemaError) as refused:
        encode_packet_out(SCHEMA, PacketOut(b"", metadata))
    assert complaint in str(refused.value)


def test_packet_in_has_its_metadata_by_name() -> None:
    message = p4r.PacketIn(payload=b"frame")
    message.metadata.add(metadata_id=1, value=b"\x0b")
    message.metadata.add(metadata_id=6, value=b"\xde\xad\xbe\xef")
    assert decode_packet_in(SCHEMA, message) == PacketIn(
        b"frame", {"port": 11, "cookie": 0xDEADBEEF}
    )
    message.metadata.add(metadata_id=99, value=b"\x01")
    with pytest.raises(SchemaError, match="no field has id 99"):
        decode_packet_in(SCHEMA, message)


def digest_message(*values: bytes) -> p4r.DigestList:
    message = p4r.DigestList(digest_id=SCHEMA.digest("learn_t").id, list_id=5)
    struct = message.data.add().struct
    for value in values:
        struct.members.add(bitstring=value)
    return message


def test_digest_has_its_fields_by_name_and_is_acknowledged() -> None:
    values = (b"\x03", b"\x0b", b"\x02\0\0\0\0\x01", b"\x0a\0\0\x01", b"\0", b"\0")
    received = decode_digest(SCHEMA, digest_message(*values))
    learned = {"vn": 3, "port": 11, "mac": 0x020000000001, "ipv4": 0x0A000001}
    learned |= {"ipv6_high": 0, "ipv6_low": 0}
    assert received == DigestList("learn_t", 5, (learned,))
    answer = encode_digest_ack(SCHEMA, received)
    assert (answer.digest_id, answer.list_id) == (SCHEMA.digest("learn_t").id, 5)


def test_digest_of_another_shape_is_refused() -> None:
    with pytest.raises(SchemaError, match="2 fields, expected 6"):
        decode_digest(SCHEMA, digest_message(b"\x03", b"\x0b"))
    with pytest.raises(SchemaError, match="no digest has id"):
        decode_digest(SCHEMA, p4r.DigestList(digest_id=7))


def test_idle_entries_are_read_by_their_key() -> None:
    key = (("slice_id", Exact(4)),)
    entry = TableEntry("flow", key, 9, "permit", (("cookie", 1),))
    message = p4r.IdleTimeoutNotification(table_entry=[SCHEMA.encode_entry(entry)])
    assert decode_idle(SCHEMA, message).entries == (entry,)
