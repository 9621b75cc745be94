"""Digests: when a list leaves, what is not sent twice, and what the primary sees of it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from softswitch.engine import Digest as Reported
from softswitch.server.digests import LIST_MAX, DigestState
from softswitch.server.pb import p4r
from softswitch.server.schema import Digest
from softswitch.tests.p4client import Client, Switch, streams_config

MS = 1_000_000
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def state(**config: int) -> DigestState:
    made = DigestState(Digest(1, "learn", "struct", (9, 48)))
    made.write(p4r.Update.INSERT, p4r.DigestEntry(digest_id=1, config=config))  # type: ignore[arg-type]
    return made


def values(message: p4r.DigestList | None) -> list[tuple[int, ...]]:
    assert message is not None
    return [
        tuple(int.from_bytes(m.bitstring, "big") for m in data.struct.members)
        for data in message.data
    ]


# -- when a list leaves ----------------------------------------------------------------------------


def test_digest_without_configuration_is_dropped() -> None:
    unset = DigestState(Digest(1, "learn", "struct", (9, 48)))
    assert unset.add((1, 2), 0) is None
    assert unset.deadline_ns() is None


def test_digest_without_timeout_leaves_at_once_in_lists_of_their_own() -> None:
    made = state()
    first, second = made.add((1, 2), 0), made.add((1, 2), 0)
    assert values(first) == values(second) == [(1, 2)]
    assert first is not None
    assert second is not None
    assert (first.list_id, second.list_id) == (1, 2)


def test_digest_waits_for_the_timeout_of_the_first_item() -> None:
    made = state(max_timeout_ns=10 * MS)
    assert made.add((1, 1), 5 * MS) is None
    assert made.add((1, 2), 9 * MS) is None
    assert made.deadline_ns() == 15 * MS
    assert made.due(15 * MS - 1) is None
    assert values(made.due(15 * MS)) == [(1, 1), (1, 2)]
    assert made.deadline_ns() is None


def test_digest_list_leaves_when_it_is_full() -> None:
    made = state(max_timeout_ns=10 * MS, max_list_size=2)
    assert made.add((1, 1), 0) is None
    assert made.add((1, 1), 0) is None  # not distinct
    assert values(made.add((1, 2), 0)) == [(1, 1), (1, 2)]


def test_digest_list_without_a_limit_has_one() -> None:
    made = state(max_timeout_ns=10 * MS)
    for number in range(LIST_MAX - 1):
        assert made.add((1, number), 0) is None
    assert len(values(made.add((2, 0), 0))) == LIST_MAX


@pytest.mark.parametrize("end", ["acknowledged", "too old", "new primary"])
def test_digest_sent_is_not_sent_again_until(end: str) -> None:
    made = state(ack_timeout_ns=100 * MS)
    assert values(made.add((1, 1), 0)) == [(1, 1)]
    assert made.add((1, 1), 99 * MS) is None
    assert values(made.add((1, 2), 99 * MS)) == [(1, 2)]
    now = 99 * MS
    if end == "acknowledged":
        made.acknowledge(77)
        assert made.add((1, 1), now) is None
        made.acknowledge(1)
    elif end == "too old":
        now = 100 * MS
    else:
        made.forget_sent()
    assert values(made.add((1, 1), now)) == [(1, 1)]
    if end != "new primary":
        assert made.add((1, 2), now) is None


def test_digest_modified_keeps_what_waits_and_deleted_does_not() -> None:
    made = state(max_timeout_ns=10 * MS)
    made.add((1, 1), 0)
    made.write(
        p4r.Update.MODIFY,
        p4r.DigestEntry(digest_id=1, config=p4r.DigestEntry.Config(max_timeout_ns=5 * MS)),
    )
    assert values(made.due(5 * MS)) == [(1, 1)]
    made.add((1, 2), 6 * MS)
    made.write(p4r.Update.DELETE, p4r.DigestEntry(digest_id=1))
    assert made.deadline_ns() is None
    assert made.due(100 * MS) is None


# -- over P4Runtime --------------------------------------------------------------------------------


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def learn(client: Client, **config: int) -> p4r.DigestEntry:
    return p4r.DigestEntry(
        digest_id=client.names.digests["learn_t"], config=p4r.DigestEntry.Config(**config)
    )


def report(switch: Switch, port: int, mac: int) -> None:
    """Let a frame from an unknown host arrive, or say so."""
    engine: Any = switch.built[-1]
    if hasattr(engine, "report"):
        engine.report(Reported("learn_t", (port, mac)))
    else:
        engine.process(port, b"\x02\0\0\0\0\1" + mac.to_bytes(6, "big") + b"\x88\xb5" + bytes(46))


async def next_digest(client: Client) -> p4r.DigestList:
    assert client.primary is not None
    async with asyncio.timeout(5):
        message = await client.primary.next()
    assert message.WhichOneof("update") == "digest"
    return message.digest


async def test_digest_configuration_is_read_back(streaming: Client) -> None:
    entry = learn(streaming, max_timeout_ns=1, max_list_size=2, ack_timeout_ns=3)
    await streaming.write(("INSERT", entry))
    assert [e.digest_entry for e in await streaming.read(entry)] == [entry]
    changed = learn(streaming, max_list_size=9)
    await streaming.write(("MODIFY", changed))
    assert [e.digest_entry for e in await streaming.read(p4r.DigestEntry())] == [changed]
    await streaming.write(("DELETE", entry))
    assert await streaming.read(entry) == []
    assert await streaming.read(p4r.DigestEntry()) == []


async def test_digest_write_is_refused(streaming: Client) -> None:
    entry = learn(streaming)
    assert (await streaming.refused("MODIFY", entry))[0] is grpc.StatusCode.NOT_FOUND
    assert (await streaming.refused("DELETE", entry))[0] is grpc.StatusCode.NOT_FOUND
    assert (await streaming.refused("INSERT", learn(streaming, max_timeout_ns=-1)))[0] is INVALID
    assert (await streaming.refused("INSERT", p4r.DigestEntry(digest_id=4)))[0] is INVALID
    await streaming.write(("INSERT", entry))
    assert (await streaming.refused("INSERT", entry))[0] is grpc.StatusCode.ALREADY_EXISTS


async def test_digest_reaches_the_primary_and_an_acknowledgement_lets_it_come_again(
    streaming: Client, switch: Switch
) -> None:
    await streaming.write(("INSERT", learn(streaming, ack_timeout_ns=3600 * 10**9)))
    for mac in (0x21, 0x21, 0x22):
        report(switch, 3, mac)
    first, second = await next_digest(streaming), await next_digest(streaming)
    assert (values(first), values(second)) == ([(3, 0x21)], [(3, 0x22)])
    assert first.timestamp > 1_600_000_000 * 10**9
    assert streaming.primary is not None
    ack = p4r.DigestListAck(digest_id=first.digest_id, list_id=first.list_id)
    await streaming.primary.call.write(p4r.StreamMessageRequest(digest_ack=ack))
    await streaming.primary.arbitrate(1)  # answered in order: the acknowledgement has been read
    await streaming.primary.next()
    report(switch, 3, 0x22)
    report(switch, 3, 0x21)
    assert values(await next_digest(streaming))[0] in [(3, 0x21), (3, 0x22)]


async def test_digest_sent_to_one_primary_is_sent_to_the_next(
    streaming: Client, switch: Switch
) -> None:
    await streaming.write(("INSERT", learn(streaming, ack_timeout_ns=3600 * 10**9)))
    report(switch, 3, 0x21)
    assert values(await next_digest(streaming)) == [(3, 0x21)]
    streaming.primary = await streaming.become_primary(2)
    report(switch, 3, 0x21)
    assert values(await next_digest(streaming)) == [(3, 0x21)]


async def test_digest_list_that_waits_is_sent_by_the_clock(
    streaming: Client, switch: Switch
) -> None:
    await streaming.write(("INSERT", learn(streaming, max_timeout_ns=30 * MS)))
    report(switch, 1, 5)
    report(switch, 2, 6)
    assert sorted(values(await next_digest(streaming))) == [(1, 5), (2, 6)]


async def test_digest_acknowledgement_is_for_primaries_and_known_digests(
    streaming: Client,
) -> None:
    assert streaming.primary is not None
    await streaming.primary.call.write(
        p4r.StreamMessageRequest(digest_ack=p4r.DigestListAck(digest_id=5))
    )
    error = (await streaming.primary.next()).error
    assert (error.canonical_code, error.WhichOneof("details")) == (3, "digest_list_ack")
    backup = streaming.stream()
    await backup.arbitrate(0)
    await backup.next()
    await backup.call.write(
        p4r.StreamMessageRequest(
            digest_ack=p4r.DigestListAck(digest_id=streaming.names.digests["learn_t"])
        )
    )
    assert (await backup.next()).error.canonical_code == 7


async def test_digest_configuration_of_a_new_pipeline_is_gone(streaming: Client) -> None:
    await streaming.write(("INSERT", learn(streaming)))
    await streaming.push(streams_config())
    assert await streaming.read(p4r.DigestEntry()) == []
