"""Which fabric ports `dfvctl status` shows."""

from __future__ import annotations

from dfvisor.cli.links import link_rows
from dfvisor.model.types import PortRef
from dfvisor.store.stats import PortSeen, Seen

from controlplane.tests.agent.networks import demo

FABRIC = demo().fabric


def rows(port: int, state: PortSeen, *down: PortRef) -> list[tuple[object, ...]]:
    return list(link_rows(FABRIC, {"s1": Seen(ports={port: state})}, down))


def test_link_as_described_is_not_shown() -> None:
    assert rows(1, PortSeen(up=True, neighbours=("s2:1",))) == []
    assert rows(1, PortSeen(up=True)) == []  # nobody has announced itself yet


def test_link_that_is_down_is_shown_even_if_only_the_report_is_left() -> None:
    shown = rows(1, PortSeen(up=False, failures=1), PortRef("s1", 1))
    assert shown == [("s1:1", "s2:1", None, "down", 1)]
    left = list(link_rows(FABRIC, {}, {PortRef("s1", 1), PortRef("s9", 1)}))
    assert left == [("s1:1", "s2:1", None, "down", 0)]


def test_wrong_cabling_is_shown_with_what_is_there() -> None:
    (row,) = rows(1, PortSeen(up=False, neighbours=("s3:1",)), PortRef("s1", 1))
    assert row == ("s1:1", "s2:1", "s3:1", "cabled otherwise", 0)
    (row,) = rows(9, PortSeen(neighbours=("s4:9",)))
    assert row == ("s1:9", None, "s4:9", "cabled, but not described", 0)
    (row,) = rows(1, PortSeen(up=True, neighbours=("s2:1", "s3:1")))
    assert row[3] == "several neighbours"


def test_link_held_back_says_until_when() -> None:
    (row,) = rows(1, PortSeen(up=False, failures=2, held_until=3600.0), PortRef("s1", 1))
    assert row[3] == "works again, held back until 01:00:00 UTC"
