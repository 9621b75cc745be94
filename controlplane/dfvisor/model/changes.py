"""Which records of a VN differ between two states of it: pure.

What is `Named` and came from one another costs what differs; otherwise unchanged records are
expected to be the same objects, which costs a few nanoseconds each. Others are compared by value,
so the answer is right all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import TypeVar

from dfvisor.model.named import differing
from dfvisor.model.records import VirtualNetwork

T = TypeVar("T")
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Names of the records that came, went or differ. `settings`: what is the VN's own does.

    Those of flowspaces come in the order of the records, as these most often lie in memory: to go
    through many in another order takes up to twice as long.
    """

    settings: bool = False
    profiles: frozenset[str] = _NOTHING
    slices: frozenset[str] = _NOTHING
    endpoints: frozenset[str] = _NOTHING
    flowspaces: Set[str] = _NOTHING

    def __or__(self, other: Changed) -> Changed:
        """What differs between the first state of one and the last of the other, at most."""
        return Changed(
            settings=self.settings or other.settings,
            profiles=self.profiles | other.profiles,
            slices=self.slices | other.slices,
            endpoints=self.endpoints | other.endpoints,
            flowspaces=self.flowspaces | other.flowspaces,
        )

    @property
    def structure(self) -> bool:
        """Whether more than endpoints and flowspaces differs."""
        return self.settings or bool(self.profiles or self.slices)


def changes(old: VirtualNetwork, new: VirtualNetwork) -> Changed:
    """What differs between two states of a VN."""
    return Changed(
        settings=_settings(old) != _settings(new),
        profiles=changed_names(old.profiles, new.profiles),
        slices=changed_names(old.slices, new.slices),
        endpoints=changed_names(old.endpoints, new.endpoints),
        flowspaces=differing(old.flowspaces, new.flowspaces).keys(),
    )


def everything(vn: VirtualNetwork) -> Changed:
    """As if the VN had not been there before."""
    return Changed(
        settings=True,
        profiles=frozenset(vn.profiles),
        slices=frozenset(vn.slices),
        endpoints=frozenset(vn.endpoints),
        flowspaces=vn.flowspaces.keys(),
    )


def changed_names(old: Mapping[str, T], new: Mapping[str, T]) -> frozenset[str]:
    """Names of what came, went or differs."""
    return frozenset(differing(old, new))


def _settings(vn: VirtualNetwork) -> VirtualNetwork:
    return replace(vn, profiles={}, slices={}, endpoints={}, flowspaces={})
