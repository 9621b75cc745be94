"""Who is primary: the rules of P4Runtime 5.3, and that there is never more than one."""

from __future__ import annotations

import pytest
from dfvisor.slicer.arbitration import Arbitration, Standing
from dfvisor.slicer.refusal import Refused
from hypothesis import given
from hypothesis import strategies as st


def test_arbitration_first_id_is_primary() -> None:
    roles: Arbitration[str] = Arbitration()
    assert roles.present("a", 5) == ["a"]
    assert roles.standing("a") is Standing.PRIMARY


def test_arbitration_higher_id_takes_over_and_all_are_told() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", 5)
    assert set(roles.present("b", 6)) == {"a", "b"}
    assert roles.standing("a") is Standing.BACKUP
    assert roles.standing("b") is Standing.PRIMARY


def test_arbitration_lower_id_is_backup_and_only_it_is_told() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", 5)
    assert roles.present("b", 4) == ["b"]
    assert roles.standing("b") is Standing.BACKUP


def test_arbitration_primary_leaves_a_lower_id_does_not_inherit() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("b", 4)
    roles.present("a", 5)
    assert roles.leave("a") == ["b"]
    assert roles.standing("b") is Standing.VACANT
    assert roles.present("d", 3) == ["d"]
    assert roles.primary is None


def test_arbitration_same_id_after_leaving_is_primary_again() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", 5)
    roles.leave("a")
    roles.present("a2", 5)
    assert roles.primary == "a2"


def test_arbitration_stepping_down_leaves_nobody() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", 5)
    roles.present("b", 4)
    assert set(roles.present("a", 3)) == {"a", "b"}
    assert roles.primary is None


def test_arbitration_without_id_is_backup() -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", None)
    assert roles.standing("a") is Standing.VACANT


@pytest.mark.parametrize("election_id", [0, 5])
def test_arbitration_zero_or_used_id_is_refused(election_id: int) -> None:
    roles: Arbitration[str] = Arbitration()
    roles.present("a", 5)
    with pytest.raises(Refused):
        roles.present("b", election_id)
    assert roles.primary == "a"
    assert "b" not in roles.election_ids


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("abcd"), st.none() | st.integers(0, 6)),
        st.tuples(st.sampled_from("abcd"), st.just("leave")),
    ),
    max_size=30,
)


@given(_STEPS)
def test_arbitration_primary_always_has_the_highest_id_ever_seen(
    steps: list[tuple[str, int | str | None]],
) -> None:
    roles: Arbitration[str] = Arbitration()
    told: dict[str, Standing] = {}
    highest = 0
    for stream, step in steps:
        try:
            if isinstance(step, str):
                notified = roles.leave(stream)
                told.pop(stream, None)
            else:
                notified = roles.present(stream, step)
                highest = max(highest, step or 0)
        except Refused:
            continue
        told |= {name: roles.standing(name) for name in notified}
        if roles.primary is not None:
            assert roles.election_ids[roles.primary] == highest
        assert told == {name: roles.standing(name) for name in roles.election_ids}
