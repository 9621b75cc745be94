"""Reading captures: keys and paths from what was seen on links."""

from __future__ import annotations

import pytest
from dfvisor.model.types import PortRef
from emulation.demo.wire import Seen, keys, way, ways


def seen(*links: str, key: int = 7, source: int = 1) -> list[Seen]:
    ends = [link.split("-") for link in links]
    return [
        Seen((PortRef(a, 1), PortRef(b, 2)), key, inner="10.0.0.1", source=source, destination=2)
        for a, b in ends
    ]


@pytest.mark.parametrize(
    ("links", "start", "expected"),
    [
        (("s1-s2", "s2-s4"), "s1", ("s1", "s2", "s4")),
        (("s1-s2", "s2-s4"), "s4", ("s4", "s2", "s1")),
        ((), "s1", ("s1",)),
        (("s1-s2", "s3-s4"), "s1", ("s1", "s2", "s3-s4?")),
        (("s1-s2", "s1-s3", "s2-s4"), "s1", ("s1", "s2", "s4", "s1-s3?")),
    ],
    ids=["in order", "from the other end", "nothing seen", "a gap", "on a second path, too"],
)
def test_way_of_links_is_the_path_or_shows_what_does_not_fit(
    links: tuple[str, ...], start: str, expected: tuple[str, ...]
) -> None:
    assert way(seen(*links), start) == expected


def test_keys_are_counted_by_packet() -> None:
    assert keys([*seen("s1-s2", "s2-s4"), *seen("s1-s2", key=9)]) == {7: 2, 9: 1}


def test_ways_are_told_apart_by_connection() -> None:
    packets = [*seen("s1-s2", "s2-s4"), *seen("s1-s3", "s3-s4", source=2)]
    assert ways(packets, "s1") == {("s1", "s2", "s4"): 1, ("s1", "s3", "s4"): 1}
