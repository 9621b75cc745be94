"""Action profiles: members, groups, one-shot sets, entries that refer to them, watch ports."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from softswitch.server.pb import p4i, p4r
from softswitch.tests.p4client import Client, Switch, exact, streams_config

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
EXISTS = grpc.StatusCode.ALREADY_EXISTS
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED
UNIMPLEMENTED = grpc.StatusCode.UNIMPLEMENTED
ECMP = "StreamsIngress.ecmp"


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


on_the_fake = pytest.mark.parametrize("data_plane", ["fake"])


class Maker:
    """Messages of the test program's selector."""

    def __init__(self, client: Client) -> None:
        self.names = client.names
        self.profile = client.names.profiles["ecmp"]

    def action(self, port: int) -> p4r.Action:
        return self.names.action("send_to", {"port": bytes([port])})

    def member(self, id_: int, port: int = 2) -> p4r.ActionProfileMember:
        return p4r.ActionProfileMember(
            action_profile_id=self.profile, member_id=id_, action=self.action(port)
        )

    def group(self, id_: int, *members: int, watch: int | None = None, **more: Any) -> Any:
        group = p4r.ActionProfileGroup(action_profile_id=self.profile, group_id=id_, **more)
        for member in members:
            item = group.members.add(member_id=member, weight=1)
            if watch is not None:
                item.watch_port = bytes([watch])
        return group

    def entry(self, number: int, **target: int) -> p4r.TableEntry:
        entry = self.names.entry("routes", {"mac": exact(b"\x02" + bytes(4) + bytes([number]))})
        for name, value in target.items():
            setattr(entry.action, f"action_profile_{name}_id", value)
        return entry

    def one_shot(self, number: int, *ports: int, weight: int = 1) -> p4r.TableEntry:
        entry = self.entry(number)
        entry.action.action_profile_action_set.SetInParent()
        for port in ports:
            entry.action.action_profile_action_set.action_profile_actions.add(
                action=self.action(port), weight=weight
            )
        return entry


@pytest.fixture
def make(streaming: Client) -> Maker:
    return Maker(streaming)


async def members(client: Client, **query: Any) -> list[p4r.ActionProfileMember]:
    read = await client.read(p4r.ActionProfileMember(**query))
    return [entity.action_profile_member for entity in read]


async def groups(client: Client, **query: Any) -> list[p4r.ActionProfileGroup]:
    read = await client.read(p4r.ActionProfileGroup(**query))
    return [entity.action_profile_group for entity in read]


# -- members and groups ----------------------------------------------------------------------------


async def test_members_and_groups_are_read_back(streaming: Client, make: Maker) -> None:
    one, two = make.member(7, 2), make.member(3, 4)
    group = make.group(1, 7, 3, max_size=5)
    group.members[0].weight = 3
    group.members[1].watch_port = b"\x04"
    await streaming.write(("INSERT", one), ("INSERT", two), ("INSERT", group))
    assert await members(streaming) == [one, two]
    assert await members(streaming, action_profile_id=make.profile, member_id=3) == [two]
    assert await groups(streaming, action_profile_id=make.profile) == [group]
    assert await groups(streaming, action_profile_id=make.profile, group_id=9) == []


async def test_member_modified_is_read_back_and_deleted_is_gone(
    streaming: Client, make: Maker
) -> None:
    await streaming.write(("INSERT", make.member(1, 2)), ("MODIFY", make.member(1, 3)))
    assert await members(streaming) == [make.member(1, 3)]
    await streaming.write(("DELETE", make.member(1)))
    assert await members(streaming) == []


@pytest.mark.parametrize(
    ("kind", "build", "code"),
    [
        pytest.param("INSERT", lambda m: m.member(0), INVALID, id="member-id-0"),
        pytest.param("INSERT", lambda m: m.member(1), EXISTS, id="member-exists"),
        pytest.param("MODIFY", lambda m: m.member(8), NOT_FOUND, id="member-modify-missing"),
        pytest.param("DELETE", lambda m: m.member(8), NOT_FOUND, id="member-delete-missing"),
        pytest.param("DELETE", lambda m: m.member(1), PRECONDITION, id="member-in-a-group"),
        pytest.param("DELETE", lambda m: m.member(2), PRECONDITION, id="member-of-an-entry"),
        pytest.param(
            "INSERT",
            lambda m: p4r.ActionProfileMember(action_profile_id=m.profile, member_id=5),
            INVALID,
            id="member-without-action",
        ),
        pytest.param(
            "INSERT",
            lambda m: p4r.ActionProfileMember(
                action_profile_id=m.profile, member_id=5, action=m.names.action("pass", {})
            ),
            INVALID,
            id="member-with-another-tables-action",
        ),
        pytest.param("INSERT", lambda m: m.group(0, 1), INVALID, id="group-id-0"),
        pytest.param("INSERT", lambda m: m.group(1, 1), EXISTS, id="group-exists"),
        pytest.param("INSERT", lambda m: m.group(5, 1, 1), INVALID, id="group-member-twice"),
        pytest.param("INSERT", lambda m: m.group(5, 1, 8), NOT_FOUND, id="group-member-missing"),
        pytest.param(
            "INSERT", lambda m: m.group(5, 1, 2, max_size=1), EXHAUSTED, id="group-too-large"
        ),
        pytest.param("MODIFY", lambda m: m.group(5, 1), NOT_FOUND, id="group-modify-missing"),
        pytest.param("MODIFY", lambda m: m.group(1, 1, max_size=4), INVALID, id="group-max-size"),
        pytest.param("DELETE", lambda m: m.group(5), NOT_FOUND, id="group-delete-missing"),
        pytest.param("DELETE", lambda m: m.group(1), PRECONDITION, id="group-of-an-entry"),
        pytest.param("INSERT", lambda m: m.entry(5, member=8), NOT_FOUND, id="entry-of-no-member"),
        pytest.param("INSERT", lambda m: m.entry(5, group=8), NOT_FOUND, id="entry-of-no-group"),
        pytest.param("INSERT", lambda m: m.one_shot(5, 2), INVALID, id="one-shot-among-members"),
        pytest.param(
            "INSERT",
            lambda m: m.names.entry(
                "routes", {"mac": exact(b"\x01")}, ("send_to", {"port": b"\x02"})
            ),
            INVALID,
            id="direct-action",
        ),
    ],
)
async def test_profile_write_is_refused_and_changes_nothing(
    streaming: Client, make: Maker, kind: str, build: Any, code: grpc.StatusCode
) -> None:
    await streaming.write(
        ("INSERT", make.member(1)),
        ("INSERT", make.member(2)),
        ("INSERT", make.group(1, 1)),
        ("INSERT", make.entry(1, group=1)),
        ("INSERT", make.entry(2, member=2)),
    )
    before = await streaming.read(*_everything())
    assert (await streaming.refused(kind, build(make)))[0] is code
    assert await streaming.read(*_everything()) == before


def _everything() -> tuple[Any, ...]:
    return p4r.ActionProfileMember(), p4r.ActionProfileGroup(), p4r.TableEntry()


async def test_profile_weights_are_checked(streaming: Client, make: Maker) -> None:
    await streaming.write(("INSERT", make.member(1)))
    group = make.group(1, 1)
    for weight, code in ((0, INVALID), (-1, INVALID), (1 << 30, EXHAUSTED)):
        group.members[0].weight = weight
        assert (await streaming.refused("INSERT", group))[0] is code
    assert await groups(streaming) == []


async def test_profile_is_full_at_its_size(streaming: Client, make: Maker) -> None:
    await streaming.write(*(("INSERT", make.member(id_)) for id_ in range(1, 65)))
    assert (await streaming.refused("INSERT", make.member(65)))[0] is EXHAUSTED


@on_the_fake
async def test_profile_without_selector_has_members_only(client: Client) -> None:
    config = streams_config()
    config.p4info.action_profiles[0].with_selector = False
    client.use(config)
    await client.become_primary()
    await client.push(config)
    make = Maker(client)
    await client.write(("INSERT", make.member(1)), ("INSERT", make.entry(1, member=1)))
    assert (await client.refused("INSERT", make.group(1, 1)))[0] is INVALID


async def test_profile_group_sizes_of_the_p4info_hold(client: Client) -> None:
    config = streams_config()
    profile = config.p4info.action_profiles[0]
    profile.max_group_size = 3
    profile.sum_of_members.max_member_weight = 9
    client.use(config)
    await client.become_primary()
    await client.push(config)
    make = Maker(client)
    await client.write(*(("INSERT", make.member(id_)) for id_ in (1, 2, 3, 4)))
    assert (await client.refused("INSERT", make.group(1, 1)))[0] is INVALID  # needs a max_size
    assert (await client.refused("INSERT", make.group(1, 1, max_size=4)))[0] is INVALID
    group = make.group(1, 1, 2, 3, max_size=3)
    group.members[0].weight = 10
    assert (await client.refused("INSERT", group))[0] is INVALID
    group.members[0].weight = 9
    await client.write(("INSERT", group))
    full = make.group(2, 1, 2, 3, 4, max_size=3)
    assert (await client.refused("INSERT", full))[0] is EXHAUSTED


async def test_profile_unknown_ids_are_invalid(streaming: Client) -> None:
    for message in (
        p4r.ActionProfileMember(action_profile_id=5, member_id=1),
        p4r.ActionProfileGroup(action_profile_id=5, group_id=1),
        p4r.ActionProfileMember(member_id=1),
    ):
        assert await streaming.read_refused(message) is INVALID


# -- entries ---------------------------------------------------------------------------------------


async def test_entries_refer_to_members_and_groups(streaming: Client, make: Maker) -> None:
    await streaming.write(
        ("INSERT", make.member(1)), ("INSERT", make.member(2)), ("INSERT", make.group(1, 1))
    )
    await streaming.write(("INSERT", make.entry(1, group=1)), ("INSERT", make.entry(2, member=2)))
    table = make.entry(1).table_id
    assert await streaming.entries(table_id=table) == [
        make.entry(1, group=1),
        make.entry(2, member=2),
    ]
    await streaming.write(("MODIFY", make.entry(2, group=1)))
    await streaming.write(("DELETE", make.member(2)))  # nobody refers to it any more
    await streaming.write(("DELETE", make.entry(1)), ("DELETE", make.entry(2)))
    await streaming.write(("DELETE", make.group(1)), ("DELETE", make.member(1)))
    assert await streaming.read(*_everything()) == []


async def test_entry_of_an_indirect_table_has_no_default_to_set(
    streaming: Client, make: Maker
) -> None:
    entry = p4r.TableEntry(table_id=make.entry(1).table_id, is_default_action=True)
    entry.action.action.CopyFrom(make.action(1))
    assert (await streaming.refused("MODIFY", entry))[0] is INVALID


async def test_one_shot_entries_are_read_back_as_written(streaming: Client, make: Maker) -> None:
    first, second = make.one_shot(1, 2, 3, weight=2), make.one_shot(2, 2, 2)
    first.action.action_profile_action_set.action_profile_actions[0].watch_port = b"\x02"
    await streaming.write(("INSERT", first), ("INSERT", second))
    assert await streaming.entries(table_id=first.table_id) == [first, second]
    assert await members(streaming) == []
    assert await groups(streaming) == []
    changed = make.one_shot(1, 5)
    await streaming.write(("MODIFY", changed), ("DELETE", second))
    assert await streaming.entries(table_id=first.table_id) == [changed]


async def test_one_shot_and_members_do_not_mix(streaming: Client, make: Maker) -> None:
    await streaming.write(("INSERT", make.one_shot(1, 2)))
    assert (await streaming.refused("INSERT", make.member(1)))[0] is INVALID
    assert (await streaming.refused("INSERT", make.group(1)))[0] is INVALID
    await streaming.write(("DELETE", make.one_shot(1)))
    await streaming.write(("INSERT", make.member(1)))


async def test_one_shot_members_count_and_go_with_the_entry(streaming: Client, make: Maker) -> None:
    await streaming.write(("INSERT", make.one_shot(1, *[2] * 60)))
    assert (await streaming.refused("INSERT", make.one_shot(2, *[2] * 5)))[0] is EXHAUSTED
    await streaming.write(("DELETE", make.one_shot(1)))
    for _ in range(3):
        await streaming.write(("INSERT", make.one_shot(2, *[2] * 60)))
        await streaming.write(("DELETE", make.one_shot(2)))


async def test_entries_with_idle_timeout_on_a_selector_are_refused(
    streaming: Client, make: Maker
) -> None:
    await streaming.write(("INSERT", make.member(1)))
    entry = make.entry(1, member=1)
    entry.idle_timeout_ns = 1
    assert (await streaming.refused("INSERT", entry))[0] is INVALID


# -- watch ports; the packets are looked at in test_server_selection.py ----------------------------


@on_the_fake
async def test_watch_port_takes_the_member_out_while_it_is_down(
    streaming: Client, switch: Switch, make: Maker
) -> None:
    group = make.group(1, 1, 2)
    group.members[0].watch_port = b"\x02"
    switch.links.update(2, False)
    await streaming.write(("INSERT", make.member(1)), ("INSERT", make.member(2)), ("INSERT", group))
    held = switch.fake.profiles[ECMP].groups
    assert [len(live) for live in held.values()] == [1]
    switch.links.update(2, True)
    assert [len(live) for live in held.values()] == [2]
    switch.links.update(3, False)
    assert [len(live) for live in held.values()] == [2]
    del group.members[1]
    await streaming.write(("MODIFY", group))
    switch.links.update(2, False)
    assert list(held.values()) == [()]
    assert (await groups(streaming)) == [group]


@on_the_fake
async def test_watch_port_of_a_one_shot_action(
    streaming: Client, switch: Switch, make: Maker
) -> None:
    entry = make.one_shot(1, 2, 3)
    actions = entry.action.action_profile_action_set.action_profile_actions
    actions[1].watch = 3  # the deprecated number
    await streaming.write(("INSERT", entry))
    (members_,) = switch.fake.profiles[ECMP].groups.values()
    switch.links.update(3, False)
    assert list(switch.fake.profiles[ECMP].groups.values()) == [members_[:1]]
    await streaming.write(("DELETE", entry))
    switch.links.update(3, True)
    assert switch.fake.profiles[ECMP].groups == {}
    assert switch.fake.profiles[ECMP].members == {}


@on_the_fake
async def test_watch_port_that_the_switch_does_not_have_counts_as_down(
    streaming: Client, switch: Switch, make: Maker
) -> None:
    group = make.group(1, 1, watch=9)
    await streaming.write(("INSERT", make.member(1)), ("INSERT", group))
    assert list(switch.fake.profiles[ECMP].groups.values()) == [()]
    assert (await groups(streaming)) == [group]


async def test_profile_of_a_new_pipeline_is_empty(streaming: Client, make: Maker) -> None:
    await streaming.write(("INSERT", make.member(1)), ("INSERT", make.group(1, 1)))
    await streaming.push(streams_config())
    assert await streaming.read(*_everything()) == []


async def test_p4info_with_an_undeclared_profile_is_refused(client: Client) -> None:
    await client.become_primary()
    config = streams_config()
    config.p4info.ClearField("action_profiles")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.push(config)
    assert caught.value.code() is INVALID
    assert isinstance(config.p4info, p4i.P4Info)
