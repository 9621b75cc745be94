"""How daemons share VNs."""

from __future__ import annotations

from collections import Counter

from dfvisor.vnc.daemon import SPREAD_S, standing_delay


def test_standing_delay_is_the_same_every_time_and_bounded() -> None:
    delays = [standing_delay(f"vn{number}", "vnc1") for number in range(100)]
    assert delays == [standing_delay(f"vn{number}", "vnc1") for number in range(100)]
    assert all(0 <= delay < SPREAD_S for delay in delays)


def test_standing_delay_gives_each_daemon_its_share() -> None:
    names = ["vnc1", "vnc2", "vnc3"]
    first = Counter(
        min(names, key=lambda name: standing_delay(f"vn{number}", name)) for number in range(600)
    )
    assert all(150 < first[name] < 250 for name in names)
