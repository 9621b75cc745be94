"""Action profiles: which member a packet gets, and what happens around missing ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from softswitch.engine import Engine, KeyPart
from softswitch.errors import EntryError, UnknownNameError
from softswitch.tests.record import DATA

PROFILE, TABLE, TO = "ExtraIngress.choice", "ExtraIngress.spread", "ExtraIngress.to"
ANY = [KeyPart(0, prefix_len=0)]


@pytest.fixture
def engine(engine_cache: Path) -> Iterator[Engine]:
    made = Engine.build((DATA / "extras.json").read_bytes(), cache_dir=engine_cache)
    yield made
    made.close()


def crc16(bits: str) -> int:
    """CRC-16/ARC, bit by bit."""
    crc = 0
    bits += "0" * (-len(bits) % 8)
    for at in range(0, len(bits), 8):
        crc ^= int(bits[at : at + 8], 2)
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def selected(frame: bytes) -> int:
    """The hash that extras.p4 asks for."""
    target, source, kind = frame[:6], frame[6:12], frame[12:14]
    wide = source + target + bytes.fromhex("deadbeef")
    bits = f"{target[5] & 7:03b}"
    return crc16(bits + "".join(f"{byte:08b}" for byte in source + wide + kind))


def ports(engine: Engine, frame: bytes) -> list[int]:
    return [port for port, _ in engine.process(0, frame)]


def test_crc16_model_gives_the_published_check_value() -> None:
    assert crc16("".join(f"{byte:08b}" for byte in b"123456789")) == 0xBB3D


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 64])
def test_group_member_is_chosen_by_crc16_modulo_size(engine: Engine, size: int) -> None:
    r = random.Random(size)
    members = [engine.member_add(PROFILE, TO, [port, 0]) for port in range(100, 164)]
    group = engine.group_add(PROFILE)
    engine.insert_indirect(TABLE, ANY, 0, group=group)
    for _ in range(20):
        order = r.sample(members, size)
        engine.group_set(PROFILE, group, order)
        for _ in range(10):
            # extras.p4 makes of the fifth byte whether to drop
            frame = r.randbytes(4) + bytes(1) + r.randbytes(55)
            assert ports(engine, frame) == [100 + order[selected(frame) % size]]


def test_group_without_members_is_hit_and_does_nothing(engine: Engine) -> None:
    group = engine.group_add(PROFILE)
    engine.insert_indirect(TABLE, ANY, 0, group=group)
    # a miss would go to port 8
    assert ports(engine, bytes(60)) == [0]
    member = engine.member_add(PROFILE, TO, [5, 0])
    engine.group_set(PROFILE, group, [member])
    assert ports(engine, bytes(60)) == [5]
    engine.group_set(PROFILE, group, [])
    assert ports(engine, bytes(60)) == [0]


def test_member_when_modified_changes_for_all_that_refer_to_it(engine: Engine) -> None:
    member = engine.member_add(PROFILE, TO, [5, 0])
    group = engine.group_add(PROFILE)
    engine.group_set(PROFILE, group, [member, member])
    handle = engine.insert_indirect(TABLE, ANY, 0, group=group)
    engine.insert_indirect(TABLE, [KeyPart(0x0800, prefix_len=16)], 0, member=member)
    engine.member_modify(PROFILE, member, TO, [6, 0])
    named = bytes(12) + b"\x08\x00"
    assert ports(engine, bytes(60)) == ports(engine, named) == [6]
    engine.member_modify(PROFILE, member, "ExtraIngress.nowhere", [])
    assert ports(engine, bytes(60)) == ports(engine, named) == []
    other = engine.member_add(PROFILE, TO, [7, 0])
    engine.modify_indirect(TABLE, handle, member=other)
    assert ports(engine, bytes(60)) == [7]
    engine.delete(TABLE, handle)
    assert ports(engine, bytes(60)) == [8]


def test_reference_to_what_is_gone_runs_no_action(engine: Engine) -> None:
    member = engine.member_add(PROFILE, TO, [5, 0])
    group = engine.group_add(PROFILE)
    engine.insert_indirect(TABLE, ANY, 0, group=group)
    engine.insert_indirect(TABLE, [KeyPart(0x0800, prefix_len=16)], 0, member=member)
    engine.group_delete(PROFILE, group)
    engine.member_delete(PROFILE, member)
    assert ports(engine, bytes(60)) == ports(engine, bytes(12) + b"\x08\x00") == [0]


def test_numbers_of_deleted_members_and_groups_come_again_lowest_first(engine: Engine) -> None:
    assert [engine.member_add(PROFILE, TO, [p, 0]) for p in range(20)] == list(range(20))
    for member in (7, 3):
        engine.member_delete(PROFILE, member)
    assert [engine.member_add(PROFILE, TO, [p, 0]) for p in range(3)] == [3, 7, 20]
    assert [engine.group_add(PROFILE) for _ in range(10)] == list(range(10))
    engine.group_delete(PROFILE, 4)
    assert [engine.group_add(PROFILE) for _ in range(2)] == [4, 10]


def test_wrong_references_are_refused_with_a_reason(engine: Engine) -> None:
    member, group = engine.member_add(PROFILE, TO, [5, 0]), engine.group_add(PROFILE)
    engine.group_set(PROFILE, group, [member])
    with pytest.raises(EntryError, match="member 0 is in group 0"):
        engine.member_delete(PROFILE, member)
    with pytest.raises(UnknownNameError, match="has no member 9"):
        engine.group_set(PROFILE, group, [9])
    with pytest.raises(UnknownNameError, match="has no group 9"):
        engine.insert_indirect(TABLE, ANY, 0, group=9)
    with pytest.raises(UnknownNameError, match="has no action 'x'"):
        engine.member_add(PROFILE, "x", [])
    with pytest.raises(UnknownNameError, match="no action profile 'x'"):
        engine.group_add("x")
    with pytest.raises(EntryError, match="1 arguments for 2"):
        engine.member_add(PROFILE, TO, [5])
    with pytest.raises(EntryError, match="one member or one group"):
        engine.insert_indirect(TABLE, ANY, 0, member=member, group=group)
    with pytest.raises(EntryError, match="name members or groups"):
        engine.insert(TABLE, ANY, 0, TO, [5, 0])
    with pytest.raises(EntryError, match="name members or groups"):
        engine.set_default(TABLE, TO, [5, 0])
    with pytest.raises(EntryError, match="has no action profile"):
        engine.insert_indirect("ExtraEgress.copies", [KeyPart(), KeyPart()], 0, member=member)
    assert ports(engine, bytes(60)) == [8]
