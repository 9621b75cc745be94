"""Flowspaces of a VN of which some are other than written: pure.

A rule says what becomes of each. It is asked again only of what has changed since it was asked
last, so a change of a large VN costs what the change is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dfvisor.model.named import Named, Records, differing
from dfvisor.model.records import Flowspace


class Rule(Protocol):
    """What becomes of a flowspace. Two that are equal answer alike."""

    def __call__(self, flowspace: Flowspace, /) -> Flowspace: ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a rule made of the flowspaces that it was asked about last."""

    source: Records[Flowspace]
    made: Named[Flowspace]


class Remade:
    """The flowspaces of one VN, as each of a few rules makes them."""

    def __init__(self) -> None:
        self._answers: dict[Rule, _Answer] = {}
        self._asked: set[Rule] = set()

    def of(self, rule: Rule, flowspaces: Records[Flowspace]) -> Named[Flowspace]:
        """What the rule makes of these."""
        answer = self._answers.get(rule)
        if answer is None:
            made = Named({name: rule(one) for name, one in flowspaces.items()})
        else:
            made = answer.made.changed(
                {
                    name: None if one is None else rule(one)
                    for name, one in differing(answer.source, flowspaces).items()
                }
            )
        self._answers[rule] = _Answer(flowspaces, made)
        self._asked.add(rule)
        return made

    def trim(self) -> None:
        """Forget the rules that were not asked since the last time."""
        self._answers = {rule: self._answers[rule] for rule in self._asked}
        self._asked.clear()
