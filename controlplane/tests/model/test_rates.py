"""Bit rates, and the meters that they make."""

from __future__ import annotations

import pytest
from dfvisor.model.rates import MAX_BPS, MIN_BPS, parse_bps, render_bps, render_rate
from dfvisor.model.records import Profile, Rate
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "bps"),
    [
        ("8000bit", 8000),
        ("64kbit", 64_000),
        ("1.5mbit", 1_500_000),
        ("5Mbit", 5_000_000),
        ("0.001gbit", 1_000_000),
        ("100gbit", MAX_BPS),
    ],
)
def test_rate_as_tc_writes_it_is_understood(text: str, bps: int) -> None:
    assert parse_bps(text) == bps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a rate like"),
        ("5", "is not a rate like"),
        ("5mbps", "is not a rate like"),  # bytes, to tc
        ("5 mbit", "is not a rate like"),
        ("-5mbit", "is not a rate like"),
        ("8000.5bit", "is not a rate like"),
        ("1e6bit", "is not a rate like"),
        ("7999bit", "7999bit is out of range 8kbit..100gbit"),
        ("101gbit", "101gbit is out of range"),
        ("0mbit", "0bit is out of range"),
    ],
)
def test_rate_with_a_mistake_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_bps(text)


@given(st.integers(MIN_BPS, MAX_BPS))
def test_rate_rendered_is_read_as_the_same(bps: int) -> None:
    assert parse_bps(render_bps(bps)) == bps


def test_rate_is_rendered_in_the_largest_whole_unit() -> None:
    assert [render_bps(bps) for bps in (5_000_000, 1_500_000, 8001, 10**10)] == [
        "5mbit",
        "1500kbit",
        "8001bit",
        "10gbit",
    ]
    assert render_rate(Rate(committed_bps=8000, peak_bps=8000)) == "8kbit"
    rate = Rate(committed_bps=8000, peak_bps=16000, burst_bytes=2000)
    assert render_rate(rate) == "8kbit/16kbit burst 2000"


@pytest.mark.parametrize(
    ("rate", "bursts"),
    [
        (Rate(committed_bps=8_000_000, peak_bps=16_000_000), (100_000, 200_000)),
        (Rate(committed_bps=8_000, peak_bps=1_000_000), (3000, 12_500)),
        (Rate(committed_bps=8_000, peak_bps=16_000, burst_bytes=2000), (2000, 2000)),
    ],
)
def test_burst_is_a_tenth_of_a_second_unless_given(rate: Rate, bursts: tuple[int, int]) -> None:
    assert (rate.committed_burst_bytes, rate.peak_burst_bytes) == bursts
    assert (rate.committed_bytes_per_s * 8, rate.peak_bytes_per_s * 8) == (
        rate.committed_bps,
        rate.peak_bps,
    )


@pytest.mark.parametrize(
    ("dscp", "yellow"),
    [
        (10, 12),
        (12, 14),
        (14, 14),
        (26, 28),
        (34, 36),
        (38, 38),
        (46, 46),
        (0, 0),
        (8, 8),
        (42, 42),
    ],
)
def test_yellow_has_the_next_drop_precedence_of_assured_forwarding(dscp: int, yellow: int) -> None:
    assert Profile(name="p", queue=0, dscp=dscp).dscp_yellow == yellow
