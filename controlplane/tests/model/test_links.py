"""Links that cannot be used."""

from __future__ import annotations

from dfvisor.model.links import end_of, links_down, usable
from dfvisor.model.paths import path
from dfvisor.model.types import PortRef

from controlplane.tests.agent.networks import demo

FABRIC = demo().fabric


def test_link_is_down_when_either_end_reports_it() -> None:
    for port in (PortRef("s1", 1), PortRef("s2", 1)):
        (link,) = links_down(FABRIC, {port})
        assert (link.a, link.b) == (PortRef("s1", 1), PortRef("s2", 1))
        assert path(usable(FABRIC, {port}), "s1", "s2") == ("s1", "s3", "s4", "s2")


def test_report_about_no_link_changes_nothing() -> None:
    assert usable(FABRIC, {PortRef("s1", 11), PortRef("gone", 1)}) is FABRIC


def test_what_has_no_other_way_keeps_its_way() -> None:
    cut = usable(FABRIC, {PortRef("s2", 1), PortRef("s2", 2)})
    assert path(cut, "s1", "s4") == ("s1", "s3", "s4")
    assert path(cut, "s1", "s2") == path(FABRIC, "s1", "s2")
    assert path(cut, "s1", "s4", avoid=("s3",)) == path(FABRIC, "s1", "s4", avoid=("s3",))


def test_end_of_a_link_is_told_from_the_other() -> None:
    link = FABRIC.links[0]
    assert end_of(link, "s1") == (PortRef("s1", 1), PortRef("s2", 1))
    assert end_of(link, "s2") == (PortRef("s2", 1), PortRef("s1", 1))
    assert end_of(link, "s3") is None
