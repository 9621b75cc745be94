"""When a link counts as down, and when as up again."""

from __future__ import annotations

import pytest
from dfvisor.agent.liveness import (
    CALM_S,
    DETECT_ALL_S,
    DETECT_S,
    HOLD_S,
    INTERVAL_S,
    MOST_HOLD_S,
    STARTUP_S,
    Liveness,
)

STEP_S = 0.02


class Clock:
    """Links under probe: every port each INTERVAL_S, judged each STEP_S."""

    def __init__(self, *ports: int) -> None:
        self.now = 100.0
        self.links = Liveness()
        self.links.set_ports(ports, self.now)
        self.cut: set[int] = set()
        self.delay_s = 0.0
        self._number = 0
        self._next = self.now
        self._answers: list[tuple[float, int, int]] = []

    def run(self, seconds: float) -> list[tuple[float, frozenset[int]]]:
        """What was down after each change, and when."""
        end, changes = self.now + seconds, []
        while self.now < end:
            if self.now >= self._next:
                for port in self.links.ports:
                    self._number += 1
                    self.links.sent(port, self._number, self.now)
                    if port not in self.cut:
                        self._answers.append((self.now + self.delay_s, port, self._number))
                self._next += INTERVAL_S
            due = [one for one in self._answers if one[0] <= self.now]
            self._answers = [one for one in self._answers if one[0] > self.now]
            for _, port, number in due:
                self.links.answered(port, number, self.now)
            if self.links.check(self.now):
                changes.append((self.now, self.links.down()))
            self.now += STEP_S
        return changes

    def until_up(self, port: int) -> float:
        """Seconds from now until the port is used again."""
        begin = self.now
        while port in self.links.down():
            self.run(STEP_S)
            assert self.now - begin < 2 * MOST_HOLD_S
        return self.now - begin


def test_answered_probes_keep_a_link_up() -> None:
    clock = Clock(1, 2)
    assert clock.run(10) == []
    assert clock.links.ports[1].up


def test_silent_link_is_down_soon_and_no_other() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    begin = clock.now
    clock.cut = {1}
    ((at, down),) = clock.run(2)
    assert down == {1}
    assert at - begin <= INTERVAL_S + DETECT_S + 2 * STEP_S


def test_all_links_silent_at_once_take_longer() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    begin = clock.now
    clock.cut = {1, 2}
    ((at, down),) = clock.run(2)
    assert down == {1, 2}
    assert DETECT_ALL_S <= at - begin <= INTERVAL_S + DETECT_ALL_S + 2 * STEP_S


def test_slow_answers_of_a_busy_machine_are_no_failure() -> None:
    clock = Clock(1, 2)
    clock.delay_s = DETECT_S * 0.7
    assert clock.run(3) == []
    clock.delay_s = DETECT_S * 1.5
    assert clock.run(3) == []
    clock.cut = {1}
    assert [down for _, down in clock.run(3)] == [frozenset({1})]


def test_link_that_works_again_is_held_back() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    clock.cut = {1}
    clock.run(1)
    clock.cut = set()
    assert clock.until_up(1) == pytest.approx(HOLD_S, abs=2 * INTERVAL_S)


def test_flapping_link_is_held_back_longer_each_time_and_forgiven_when_calm() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    held = []
    for _ in range(3):
        clock.cut = {1}
        clock.run(1)
        clock.cut = set()
        held.append(clock.until_up(1))
    assert held == pytest.approx([HOLD_S, 2 * HOLD_S, 4 * HOLD_S], abs=2 * INTERVAL_S)
    clock.run(CALM_S)
    clock.cut = {1}
    clock.run(1)
    clock.cut = set()
    assert clock.until_up(1) == pytest.approx(HOLD_S, abs=2 * INTERVAL_S)
    assert clock.links.ports[1].failures == 4


def test_silence_while_held_back_starts_the_wait_anew() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    clock.cut = {1}
    clock.run(1)
    clock.cut = set()
    clock.run(HOLD_S * 0.8)
    clock.cut = {1}
    clock.run(1)
    clock.cut = set()
    assert clock.until_up(1) == pytest.approx(HOLD_S, abs=2 * INTERVAL_S)


def test_nothing_is_concluded_while_the_own_switch_is_away() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    clock.cut = {1}
    clock.run(1)
    clock.cut = set()
    clock.run(HOLD_S * 0.8)
    for _ in range(20):
        clock.links.pause()
        clock.now += INTERVAL_S
        assert not clock.links.check(clock.now)
    assert clock.links.down() == {1}
    clock._next = clock.now
    assert clock.until_up(1) == pytest.approx(HOLD_S, abs=2 * INTERVAL_S)


def test_link_never_heard_of_is_given_time_to_start() -> None:
    clock = Clock(1, 2)
    clock.cut = {1}
    ((at, down),) = clock.run(STARTUP_S + 1)
    assert down == {1}
    assert at - 100.0 >= STARTUP_S


def test_link_reported_down_earlier_is_so_until_it_answers() -> None:
    clock = Clock(1, 2)
    assert clock.links.assume_down({1, 9}, clock.now)
    assert clock.links.down() == {1}
    assert clock.until_up(1) == pytest.approx(HOLD_S, abs=2 * INTERVAL_S)
    assert not clock.links.assume_down({1}, clock.now)


def test_port_that_ends_no_link_any_more_is_forgotten() -> None:
    clock = Clock(1, 2)
    clock.run(1)
    clock.cut = {1}
    clock.run(1)
    assert clock.links.set_ports({2, 3}, clock.now)
    assert clock.links.down() == frozenset()
    assert list(clock.links.ports) == [2, 3]
