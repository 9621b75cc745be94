"""Action profiles: members, groups of members, and what entries of indirect tables refer to.

A mutating call is one call into C and a note of it here; callers that may collide with each other
on one profile are serialised by a lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from itertools import count
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

from softswitch import ir
from softswitch.entries import Table, Words, as_words, pack_args
from softswitch.errors import EntryError, UnknownNameError
from softswitch.instance import Instance

_GROUP_REF = 1 << 63  # runtime/profile.h
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _lowest_free(taken: Collection[int]) -> int:
    return next(number for number in count() if number not in taken)


def _locked(
    method: Callable[Concatenate[Profile, _P], _R],
) -> Callable[Concatenate[Profile, _P], _R]:
    @wraps(method)
    def run(self: Profile, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.lock:
            return method(self, *args, **kwargs)

    return run


class Profile:
    """One action profile; the C side has the same content."""

    def __init__(
        self, instance: Instance, program: ir.Program, index: int, tables: Sequence[Table]
    ) -> None:
        self.lock = Lock()
        self.name = list(program.profiles)[index]
        self._instance = instance
        self._program = program
        self._index = index
        self._actions = {
            name: action_id
            for table in tables
            if table.ir.profile == self.name
            for name, action_id in table.ir.actions.items()
        }
        self._members: set[int] = set()
        self._groups: dict[int, tuple[int, ...]] = {}

    @_locked
    def member_add(self, action: str, args: Sequence[int]) -> int:
        """Make a member; returns its number, the lowest that is free."""
        member = _lowest_free(self._members)
        self._put_member(member, action, args)
        self._members.add(member)
        return member

    @_locked
    def member_modify(self, member: int, action: str, args: Sequence[int]) -> None:
        """Replace a member's action."""
        self._need_member(member)
        self._put_member(member, action, args)

    @_locked
    def member_delete(self, member: int) -> None:
        """Remove a member that no group has."""
        self._need_member(member)
        for group, members in self._groups.items():
            if member in members:
                raise EntryError(f"profile '{self.name}': member {member} is in group {group}")
        self._call(f"member {member}", "sw_member_delete", member)
        self._members.remove(member)

    @_locked
    def group_add(self) -> int:
        """Make an empty group; returns its number, the lowest that is free."""
        group = _lowest_free(self._groups)
        self._put_group(group, ())
        return group

    @_locked
    def group_set(self, group: int, members: Sequence[int]) -> None:
        """Replace a group's members."""
        self._need_group(group)
        for member in members:
            self._need_member(member)
        self._put_group(group, members)

    @_locked
    def group_delete(self, group: int) -> None:
        """Remove a group."""
        self._need_group(group)
        self._call(f"group {group}", "sw_member_group_delete", group)
        del self._groups[group]

    @_locked
    def reference(self, table: str, member: int | None, group: int | None) -> Words:
        """The argument of an entry that names a member or a group."""
        if member is not None and group is None:
            self._need_member(member)
            return as_words((member,), 1)
        if group is not None and member is None:
            self._need_group(group)
            return as_words((_GROUP_REF | group,), 1)
        raise EntryError(f"table '{table}': name one member or one group")

    def _put_member(self, member: int, action: str, args: Sequence[int]) -> None:
        action_id = self._actions.get(action)
        if action_id is None:
            raise UnknownNameError(f"profile '{self.name}' has no action '{action}'")
        values = pack_args(self._program, action_id, args)
        packed = as_words(values, 0)
        self._call(f"member {member}", "sw_member_set", member, action_id, len(values), packed)

    def _put_group(self, group: int, members: Sequence[int]) -> None:
        packed = (ctypes.c_uint32 * max(1, len(members)))(*members)
        self._call(f"group {group}", "sw_member_group_set", group, len(members), packed)
        self._groups[group] = tuple(members)

    def _call(self, what: str, function: str, *arguments: object) -> None:
        self._instance.call(f"profile '{self.name}', {what}", function, self._index, *arguments)

    def _need_member(self, member: int) -> None:
        if member not in self._members:
            raise UnknownNameError(f"profile '{self.name}' has no member {member}")

    def _need_group(self, group: int) -> None:
        if group not in self._groups:
            raise UnknownNameError(f"profile '{self.name}' has no group {group}")
