"""Action profiles: the member that a packet takes is the one that BMv2 takes.

BMv2's choices are in data/selection.bmv2.json, see `selection.py`. On the fake, the order of a
group's members is checked, with the hash computed here; on the engine, whole packets.
"""

from __future__ import annotations

import random

import pytest
from softswitch.engine import Engine
from softswitch.server.slots import Copies, Slots, regroup
from softswitch.tests.fake_engine import FakeEngine
from softswitch.tests.p4client import Client, Switch
from softswitch.tests.selection import IN_PORT, frames, recorded_vectors, steps


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_selection_takes_the_member_that_bmv2_takes(
    streaming: Client, switch: Switch
) -> None:
    recorded = recorded_vectors()
    assert len(recorded) == len(list(steps()))
    for step, expected in zip(steps(), recorded, strict=True):
        assert step.name == expected["step"]
        await streaming.write(*step.updates)
        for port in step.down:
            switch.links.update(port, False)
        for port in step.up:
            switch.links.update(port, True)
        for group in step.groups:
            got = "".join(_ports(switch, group))
            assert got == expected["ports"][str(group)], f"{step.name}, group {group}"


def _ports(switch: Switch, group: int) -> list[str]:
    engine = switch.built[-1]
    if isinstance(engine, FakeEngine):
        return [_fake_port(engine, frame) for frame in frames(group)]
    assert isinstance(engine, Engine)
    out = [engine.process(IN_PORT, frame) for frame in frames(group)]
    assert all(len(copies) == 1 and len(copies[0][1]) == 60 for copies in out)
    return [str(copies[0][0]) for copies in out]


def _fake_port(engine: FakeEngine, frame: bytes) -> str:
    """What a data plane does with the entry that the frame hits."""
    mac = int.from_bytes(frame[:6], "big")
    profile = engine.profiles["StreamsIngress.ecmp"]
    (entry,) = [
        e for e in engine.tables["StreamsIngress.routes"].entries.values() if e.key[0].value == mac
    ]
    assert entry.group is not None
    members = profile.groups[entry.group]
    chosen = members[_crc16(frame[6:14]) % len(members)]
    return str(profile.members[chosen][1][0])


def _crc16(data: bytes) -> int:
    """CRC-16/ARC, v1model's crc16."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc


def test_crc16_check_value() -> None:
    assert _crc16(b"123456789") == 0xBB3D  # the catalogue's check value of CRC-16/ARC


@pytest.mark.parametrize("seed", range(20))
def test_slots_are_unique_and_all_given_back(seed: int) -> None:
    chance = random.Random(seed)
    slots = Slots()
    members = {id_: Copies(slots) for id_ in range(8)}
    groups: list[dict[int, int]] = [{}, {}, {}]
    for _ in range(200):
        place = chance.randrange(3)
        new = {id_: chance.randint(1, 5) for id_ in chance.sample(range(8), chance.randrange(8))}
        regroup(members, groups[place], new)
        groups[place] = new
        used = [number for copies in members.values() for number in copies.numbers]
        assert len(used) == len(set(used))
        for id_, copies in members.items():
            weights = [group.get(id_, 0) for group in groups]
            assert len(copies.numbers) == max(1, *weights)
            assert copies.grouped == any(weights)
    for copies in members.values():
        copies.close()
    assert [slots.take() for _ in range(8)] == list(range(8))
