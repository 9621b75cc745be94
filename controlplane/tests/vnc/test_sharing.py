"""How daemons share VNs."""

from __future__ import annotations

from collections import Counter

import pytest
from dfvisor.vnc.daemon import SPREAD_S, standing_delay
from dfvisor.vnc.sharing import shares

VNS = [f"vn{number}" for number in range(100)]
THREE = ["vnc1", "vnc2", "vnc3"]


def test_standing_delay_is_the_same_every_time_and_bounded() -> None:
    delays = [standing_delay(vn, "vnc1") for vn in VNS]
    assert delays == [standing_delay(vn, "vnc1") for vn in VNS]
    assert all(0 <= delay < SPREAD_S for delay in delays)


@pytest.mark.parametrize("daemons", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("count", [1, 5, 100, 600])
def test_shares_are_even(daemons: int, count: int) -> None:
    names = [f"vnc{number}" for number in range(daemons)]
    load = Counter(shares([f"vn{number}" for number in range(count)], names).values())
    assert sum(load.values()) == count
    assert max(load.values()) <= -(-count // daemons)


def test_shares_do_not_depend_on_the_order_of_names() -> None:
    assert shares(VNS, THREE) == shares(VNS[::-1], THREE[::-1])


def test_daemon_that_goes_leaves_most_vns_where_they_are() -> None:
    before, after = shares(VNS, THREE), shares(VNS, THREE[:2])
    moved = [vn for vn in VNS if before[vn] != after[vn]]
    assert len([vn for vn in moved if before[vn] != "vnc3"]) <= 10
    assert shares(VNS, []) == {}
