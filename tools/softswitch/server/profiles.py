"""Action profiles: members, groups and one-shot action sets, and what table entries refer to.

P4Runtime 1.4, section "ActionProfileMember & ActionProfileGroup". A group's members go to the
engine in BMv2's order (`slots.py`), each as often as its weight says, without those whose watch
port is down. A group may be empty: then an entry that refers to it is hit and runs no action.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from softswitch.errors import EngineError
from softswitch.server.dataplane import DataPlane
from softswitch.server.errors import exhausted, exists, invalid, not_found, precondition
from softswitch.server.json_view import Call
from softswitch.server.links import Links
from softswitch.server.match import parse_call, put_call
from softswitch.server.multicast import PORT_BITS
from softswitch.server.pb import p4r
from softswitch.server.schema import Profile
from softswitch.server.slots import Copies, Slots, regroup
from softswitch.server.values import decode

GROUP_SIZE_MAX = 4096
"""Largest sum of weights in a group."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One weighted action of a one-shot set."""

    call: Call
    weight: int
    watch: int | None


@dataclass(frozen=True, slots=True)
class Target:
    """What an entry's action is: a member, a group (by the client's id), or a one-shot set."""

    member: int = 0
    group: int = 0
    choices: tuple[Choice, ...] | None = None
    encoded: bytes = b""
    """The canonical TableAction."""


@dataclass(slots=True)
class _Member:
    engine_id: int
    call: Call
    copies: Copies
    references: int = 0


@dataclass(slots=True)
class _Group:
    """`seats`: number in BMv2's order, the engine's member, watch port. Of a one-shot set: `owner`
    is the entry that has it, `choices` its members' numbers, the engine's member, watch port."""

    engine_id: int
    seats: list[tuple[int, int, int | None]] = field(default_factory=list)
    max_size: int = 0
    weights: dict[int, int] = field(default_factory=dict)
    watches: dict[int, int | None] = field(default_factory=dict)
    encoded: bytes = b""
    references: int = 0
    owner: object = None
    choices: list[tuple[Copies, int, int | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Numbering:
    """Which numbers are free, and which the members and the entries with one-shot sets have."""

    free: tuple[tuple[int, ...], int]
    members: Mapping[int, tuple[int, ...]]
    sets: Mapping[object, tuple[tuple[int, ...], ...]]


@dataclass(slots=True)
class Bound:
    """A target in use by an entry, as the engine knows it; `release` it when the entry goes."""

    member: int | None = None
    group: int | None = None
    _holder: _Member | _Group | None = None
    _set: _Group | None = None


class ProfileState:
    """One action profile's content."""

    def __init__(self, profile: Profile, engine: DataPlane, links: Links) -> None:
        self.profile = profile
        self._engine = engine
        self._links = links
        self._slots = Slots()
        self._members: dict[int, _Member] = {}
        self._groups: dict[int, _Group] = {}
        self._sets: dict[int, _Group] = {}  # of one-shot entries, by the engine's group
        self._set_members = 0

    # -- members ------------------------------------------------------------------------------

    def write_member(
        self, kind: p4r.Update.Type.ValueType, message: p4r.ActionProfileMember
    ) -> None:
        """INSERT, MODIFY or DELETE a member; raises RequestError."""
        where = f"action profile {self.profile.name}: member {message.member_id}"
        self._need_manual()
        if message.member_id == 0:
            raise invalid(f"{where}: the id must not be 0")
        known = self._members.get(message.member_id)
        if kind == p4r.Update.INSERT and known is not None:
            raise exists(f"{where} exists already")
        if kind != p4r.Update.INSERT and known is None:
            raise not_found(f"{where} does not exist")
        if kind == p4r.Update.DELETE:
            assert known is not None
            if known.copies.grouped:
                raise precondition(f"{where} is in a group")
            if known.references:
                raise precondition(f"{where}: {known.references} entries refer to it")
            self._engine.member_delete(self.profile.name, known.engine_id)
            known.copies.close()
            del self._members[message.member_id]
            return
        if not message.HasField("action"):
            raise invalid(f"{where}: needs an action")
        call = self._call(message.action)
        if known is not None:
            self._engine.member_modify(
                self.profile.name, known.engine_id, call.action.name, call.args
            )
            known.call = call
            return
        self._need_room(len(self._members) + 1)
        engine_id = self._engine.member_add(self.profile.name, call.action.name, call.args)
        self._members[message.member_id] = _Member(engine_id, call, Copies(self._slots))

    def read_members(self, member_id: int) -> list[p4r.ActionProfileMember]:
        """One member (none if it does not exist), or all with id 0."""
        found = []
        for id_ in self._members if member_id == 0 else (member_id,):
            member = self._members.get(id_)
            if member is not None:
                message = p4r.ActionProfileMember(action_profile_id=self.profile.id, member_id=id_)
                put_call(member.call.action, member.call.args, message.action)
                found.append(message)
        return found

    # -- groups -------------------------------------------------------------------------------

    def write_group(self, kind: p4r.Update.Type.ValueType, message: p4r.ActionProfileGroup) -> None:
        """INSERT, MODIFY or DELETE a group; raises RequestError and then changes nothing."""
        where = f"action profile {self.profile.name}: group {message.group_id}"
        if not self.profile.selector:
            raise invalid(f"{where}: the profile has no selector, so no groups")
        self._need_manual()
        if message.group_id == 0:
            raise invalid(f"{where}: the id must not be 0")
        group = self._groups.get(message.group_id)
        if kind == p4r.Update.INSERT and group is not None:
            raise exists(f"{where} exists already")
        if kind != p4r.Update.INSERT and group is None:
            raise not_found(f"{where} does not exist")
        if kind == p4r.Update.DELETE:
            assert group is not None
            if group.references:
                raise precondition(f"{where}: {group.references} entries refer to it")
            self._engine.group_delete(self.profile.name, group.engine_id)
            self._set_weights(group, {}, {})
            del self._groups[message.group_id]
            return
        weights, watches = self._membership(where, message)
        if group is None:
            self._check_max_size(where, message.max_size)
        elif message.max_size != group.max_size:
            raise invalid(f"{where}: max_size can't change from {group.max_size}")
        self._check_group_size(where, list(weights.values()), message.max_size)
        if group is None:
            group = _Group(self._engine.group_add(self.profile.name), max_size=message.max_size)
            self._groups[message.group_id] = group
        self._set_weights(group, weights, watches)
        self._install(group)
        group.encoded = message.SerializeToString()

    def read_groups(self, group_id: int) -> list[p4r.ActionProfileGroup]:
        """One group (none if it does not exist), or all with id 0; as they were written."""
        chosen = self._groups.values() if group_id == 0 else (self._groups.get(group_id),)
        return [p4r.ActionProfileGroup.FromString(g.encoded) for g in chosen if g is not None]

    def port_changed(self, port: int) -> None:
        """Take members out of their groups, or back in, after their watch port changed."""
        for group in (*self._groups.values(), *self._sets.values()):
            if any(watch == port for _number, _member, watch in group.seats):
                self._install(group)

    def refresh(self) -> None:
        """Look at the watch ports of all groups again."""
        for group in (*self._groups.values(), *self._sets.values()):
            if any(watch is not None for _number, _member, watch in group.seats):
                self._install(group)

    # -- undoing ------------------------------------------------------------------------------

    def undo_member(self, member_id: int) -> Callable[[], None]:
        """What puts a member back as it is now."""
        old = self.read_members(member_id) if member_id else []

        def put_back() -> None:
            known = member_id in self._members
            if old:
                self.write_member(p4r.Update.MODIFY if known else p4r.Update.INSERT, old[0])
            elif known:
                self.write_member(p4r.Update.DELETE, p4r.ActionProfileMember(member_id=member_id))

        return put_back

    def undo_group(self, group_id: int) -> Callable[[], None]:
        """What puts a group back as it is now."""
        old = self.read_groups(group_id) if group_id else []

        def put_back() -> None:
            known = group_id in self._groups
            if old:
                self.write_group(p4r.Update.MODIFY if known else p4r.Update.INSERT, old[0])
            elif known:
                self.write_group(p4r.Update.DELETE, p4r.ActionProfileGroup(group_id=group_id))

        return put_back

    def numbering(self) -> Numbering:
        """The numbers as they are."""
        return Numbering(
            self._slots.snapshot(),
            {id_: tuple(member.copies.numbers) for id_, member in self._members.items()},
            {
                group.owner: tuple(tuple(copies.numbers) for copies, _, _ in group.choices)
                for group in self._sets.values()
            },
        )

    def restore_numbering(self, numbering: Numbering) -> None:
        """Take these numbers, for the same members and sets."""
        self._slots.restore(numbering.free)
        for id_, numbers in numbering.members.items():
            self._members[id_].copies.numbers[:] = numbers
        for group in self._groups.values():
            self._seat(group)
            self._install(group)
        for group in self._sets.values():
            held = numbering.sets[group.owner]
            for (copies, _, _), numbers in zip(group.choices, held, strict=True):
                copies.numbers[:] = numbers
            _seat_set(group)
            self._install(group)

    def _membership(
        self, where: str, message: p4r.ActionProfileGroup
    ) -> tuple[dict[int, int], dict[int, int | None]]:
        weights: dict[int, int] = {}
        watches: dict[int, int | None] = {}
        for item in message.members:
            what = f"{where}: member {item.member_id}"
            if item.member_id in weights:
                raise invalid(f"{what} is given twice; use its weight")
            weights[item.member_id] = self._weight(what, item.weight)
            watches[item.member_id] = self._watch(what, item)
        for member_id in weights:
            if member_id not in self._members:
                raise not_found(f"{where}: member {member_id} does not exist")
        return weights, watches

    def _set_weights(
        self, group: _Group, weights: dict[int, int], watches: dict[int, int | None]
    ) -> None:
        copies = {id_: self._members[id_].copies for id_ in group.weights.keys() | weights.keys()}
        regroup(copies, group.weights, weights)
        group.weights = weights
        group.watches = watches
        self._seat(group)

    def _seat(self, group: _Group) -> None:
        group.seats = sorted(
            (number, self._members[id_].engine_id, group.watches[id_])
            for id_, weight in group.weights.items()
            for number in self._members[id_].copies.numbers[:weight]
        )

    def _install(self, group: _Group) -> None:
        live = [
            member
            for _number, member, watch in group.seats
            if watch is None or self._links.is_up(watch)
        ]
        self._engine.group_set(self.profile.name, group.engine_id, live)

    # -- what entries refer to ----------------------------------------------------------------

    def parse_target(self, where: str, action: p4r.TableAction) -> Target:
        """The action of an entry of an indirect table. Raises RequestError."""
        kind = action.WhichOneof("type")
        encoded = action.SerializeToString()
        if kind == "action_profile_member_id":
            self._need_manual()
            if action.action_profile_member_id not in self._members:
                raise not_found(f"{where}: member {action.action_profile_member_id} does not exist")
            return Target(member=action.action_profile_member_id, encoded=encoded)
        if kind == "action_profile_group_id":
            self._need_manual()
            if action.action_profile_group_id not in self._groups:
                raise not_found(f"{where}: group {action.action_profile_group_id} does not exist")
            return Target(group=action.action_profile_group_id, encoded=encoded)
        if kind != "action_profile_action_set":
            raise invalid(
                f"{where}: action is {kind or 'unset'}, expected a member, group or action set of "
                f"action profile {self.profile.name}"
            )
        return self._parse_set(where, action.action_profile_action_set)

    def _parse_set(self, where: str, message: p4r.ActionProfileActionSet) -> Target:
        if not self.profile.selector:
            raise invalid(f"{where}: action profile {self.profile.name} has no selector")
        if self._members or self._groups:
            raise invalid(
                f"{where}: action profile {self.profile.name} is programmed with members and "
                "groups, not one-shot action sets"
            )
        choices = []
        canonical = p4r.TableAction()
        canonical.action_profile_action_set.SetInParent()
        for place, item in enumerate(message.action_profile_actions):
            what = f"{where}: action {place}"
            call = self._call(item.action)
            weight = self._weight(what, item.weight)
            choices.append(Choice(call, weight, self._watch(what, item)))
            copy = canonical.action_profile_action_set.action_profile_actions.add()
            copy.CopyFrom(item)
            put_call(call.action, call.args, copy.action)
        self._check_set_size(where, [choice.weight for choice in choices])
        return Target(choices=tuple(choices), encoded=canonical.SerializeToString())

    def bind(self, target: Target, owner: object) -> Bound:
        """Put a target to use for an entry, `owner`. Raises RESOURCE_EXHAUSTED when a set has no
        room."""
        if target.choices is not None:
            return self._bind_set(target.choices, owner)
        if target.member:
            member = self._members[target.member]
            member.references += 1
            return Bound(member=member.engine_id, _holder=member)
        group = self._groups[target.group]
        group.references += 1
        return Bound(group=group.engine_id, _holder=group)

    def _bind_set(self, choices: Sequence[Choice], owner: object) -> Bound:
        self._need_room(self._set_members + len(choices))
        name = self.profile.name
        group = _Group(self._engine.group_add(name), owner=owner)
        bound = Bound(group=group.engine_id, _set=group)
        self._sets[group.engine_id] = group
        try:
            for choice in choices:
                call = choice.call
                member = self._engine.member_add(name, call.action.name, call.args)
                copies = Copies(self._slots)
                copies.grow(choice.weight)
                group.choices.append((copies, member, choice.watch))
                self._set_members += 1
            _seat_set(group)
            self._install(group)
        except EngineError:
            self.release(bound)
            raise
        return bound

    def release(self, bound: Bound) -> None:
        """End an entry's use of its target; members of a one-shot set go with it."""
        if bound._holder is not None:
            bound._holder.references -= 1
        if bound._set is not None:
            group = bound._set
            self._engine.group_delete(self.profile.name, group.engine_id)
            for copies, member, _watch in group.choices:
                self._engine.member_delete(self.profile.name, member)
                copies.close()
            self._set_members -= len(group.choices)
            del self._sets[group.engine_id]

    # -- checks -------------------------------------------------------------------------------

    def _call(self, action: p4r.Action) -> Call:
        found = self.profile.actions.get(action.action_id)
        if found is None:
            raise invalid(
                f"action profile {self.profile.name}: has no action with id {action.action_id:#x}"
            )
        return Call(found, parse_call(found, action))

    def _need_manual(self) -> None:
        if self._sets:
            raise invalid(
                f"action profile {self.profile.name} is programmed with one-shot action sets, not "
                "members and groups"
            )

    def _need_room(self, members: int) -> None:
        if 0 < self.profile.size < members:
            raise exhausted(
                f"action profile {self.profile.name}: full ({self.profile.size} members)"
            )

    def _weight(self, what: str, weight: int) -> int:
        if weight <= 0:
            raise invalid(f"{what}: weight {weight}, expected above 0")
        if 0 < self.profile.max_weight < weight:
            raise invalid(f"{what}: weight {weight}, at most {self.profile.max_weight}")
        return weight

    def _watch(
        self, what: str, item: p4r.ActionProfileGroup.Member | p4r.ActionProfileAction
    ) -> int | None:
        kind = item.WhichOneof("watch_kind")
        if kind is None or (kind == "watch_port" and not item.watch_port):
            return None
        if kind == "watch":
            return item.watch or None
        return decode(item.watch_port, PORT_BITS, f"{what}: watch_port")

    def _group_size(self, weights: Sequence[int]) -> int:
        return len(weights) if self.profile.counts_members else sum(weights)

    def _check_max_size(self, where: str, max_size: int) -> None:
        limit = self.profile.max_group_size
        if max_size < 0 or 0 < limit < max_size or (limit and not max_size):
            expected = f"1..{limit}" if limit else "0 or above"
            raise invalid(f"{where}: max_size {max_size}, expected {expected}")

    def _check_group_size(self, where: str, weights: Sequence[int], max_size: int) -> None:
        size = self._group_size(weights)
        if 0 < max_size < size:
            raise exhausted(f"{where}: size {size}, its max_size is {max_size}")
        if sum(weights) > GROUP_SIZE_MAX:
            raise exhausted(f"{where}: weights sum to {sum(weights)}, at most {GROUP_SIZE_MAX}")

    def _check_set_size(self, where: str, weights: Sequence[int]) -> None:
        size = self._group_size(weights)
        if 0 < self.profile.max_group_size < size:
            raise invalid(f"{where}: size {size}, at most {self.profile.max_group_size}")
        if sum(weights) > GROUP_SIZE_MAX:
            raise exhausted(f"{where}: weights sum to {sum(weights)}, at most {GROUP_SIZE_MAX}")


def _seat_set(group: _Group) -> None:
    group.seats = sorted(
        (number, member, watch)
        for copies, member, watch in group.choices
        for number in copies.numbers
    )
