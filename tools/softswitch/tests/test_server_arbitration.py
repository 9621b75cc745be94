"""Arbitration: the pure state machine, as tables of events and expected views."""

from __future__ import annotations

import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st
from softswitch.server.arbitration import MAX_CLIENTS_PER_ROLE, Arbitration, Standing
from softswitch.server.errors import RequestError

P, B, N = Standing.PRIMARY, Standing.BACKUP, Standing.NO_PRIMARY
GONE = "gone"

Event = tuple[str, int | str | None]


@pytest.mark.parametrize(
    ("events", "standings", "highest"),
    [
        pytest.param([("a", 1)], {"a": P}, 1, id="first-is-primary"),
        pytest.param([("a", 0)], {"a": P}, 0, id="zero-is-an-election-id"),
        pytest.param([("a", None)], {"a": N}, None, id="unset-is-never-primary"),
        pytest.param([("a", 1), ("b", None)], {"a": P, "b": B}, 1, id="unset-is-backup"),
        pytest.param([("a", 1), ("b", 2)], {"a": B, "b": P}, 2, id="higher-takes-over"),
        pytest.param([("a", 2), ("b", 1)], {"a": P, "b": B}, 2, id="lower-is-backup"),
        pytest.param([("a", 2), ("b", 1), ("a", GONE)], {"b": N}, 2, id="backup-is-not-promoted"),
        pytest.param([("a", 2), ("a", GONE), ("b", 2)], {"b": P}, 2, id="same-id-after-it-left"),
        pytest.param([("a", 2), ("a", GONE), ("b", 1)], {"b": N}, 2, id="below-highest-ever"),
        pytest.param([("a", 1), ("a", 5)], {"a": P}, 5, id="primary-raises-itself"),
        pytest.param([("a", 5), ("b", 3), ("a", 1)], {"a": N, "b": N}, 5, id="downgrade"),
        pytest.param(
            [("a", 5), ("b", 3), ("a", 1), ("b", 5)], {"a": B, "b": P}, 5, id="after-downgrade"
        ),
        pytest.param([("a", 5), ("a", None)], {"a": N}, 5, id="primary-unsets"),
        pytest.param([("a", 1), ("b", 1 << 127)], {"a": B, "b": P}, 1 << 127, id="128-bit"),
    ],
)
def test_arbitration_after_events_gives_standings(
    events: list[Event], standings: dict[str, Standing], highest: int | None
) -> None:
    arbitration = Arbitration()
    for client, election_id in events:
        if isinstance(election_id, str):
            arbitration.disconnect(client)
        else:
            arbitration.update(client, "", election_id, None)
    views = {client: arbitration.view(client) for client in standings}
    assert {client: view and view.standing for client, view in views.items()} == standings
    assert all(view is not None and view.election_id == highest for view in views.values())


@pytest.mark.parametrize(
    ("before", "event", "now", "primary"),
    [
        pytest.param([], ("a", 1), (), "a", id="alone"),
        pytest.param([("a", 1)], ("b", 2), ("a",), "b", id="others-first-then-the-primary"),
        pytest.param([("a", 2)], ("b", 1), ("b",), None, id="backup-alone-is-told"),
        pytest.param([("a", 2), ("b", 1)], ("a", 2), ("b",), "a", id="repeat-tells-all"),
        pytest.param([("a", 2), ("b", 1)], ("a", GONE), ("b",), None, id="primary-left"),
        pytest.param([("a", 2), ("b", 1)], ("b", GONE), (), None, id="backup-left"),
        pytest.param([("a", 2), ("b", 1)], ("a", 0), ("a", "b"), None, id="downgrade-tells-all"),
    ],
)
def test_arbitration_event_notifies(
    before: list[tuple[str, int]], event: Event, now: tuple[str, ...], primary: str | None
) -> None:
    arbitration = Arbitration()
    for client, election_id in before:
        arbitration.update(client, "", election_id, None)
    client, what = event
    if isinstance(what, str):
        change = arbitration.disconnect(client)
    else:
        change = arbitration.update(client, "", what, None)
    assert (change.now, change.primary) == (now, primary)


def test_arbitration_roles_are_independent() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "", 5, None)
    arbitration.update("b", "slice/one", 3, b"config")
    assert arbitration.is_primary("", 5)
    assert arbitration.is_primary("slice/one", 3)
    assert not arbitration.is_primary("slice/one", 5)
    view = arbitration.view("b")
    assert view is not None
    assert (view.role, view.config) == ("slice/one", b"config")


def test_arbitration_election_id_in_use_is_refused() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "", 1, None)
    with pytest.raises(RequestError, match="already used") as caught:
        arbitration.update("b", "", 1, None)
    assert caught.value.code is StatusCode.INVALID_ARGUMENT
    assert arbitration.view("b") is None
    arbitration.update("b", "other", 1, None)  # another role: free


def test_arbitration_backup_takes_id_in_use_is_refused_and_keeps_its_own() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "", 5, None)
    arbitration.update("b", "", 3, None)
    with pytest.raises(RequestError):
        arbitration.update("b", "", 5, None)
    assert arbitration.is_primary("", 5)


def test_arbitration_two_unset_election_ids_are_accepted() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "", None, None)
    arbitration.update("b", "", None, None)
    view = arbitration.view("b")
    assert view is not None
    assert view.standing is N


def test_arbitration_change_of_role_is_refused() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "one", 1, None)
    with pytest.raises(RequestError) as caught:
        arbitration.update("a", "two", 1, None)
    assert caught.value.code is StatusCode.FAILED_PRECONDITION


def test_arbitration_too_many_clients_are_refused() -> None:
    arbitration = Arbitration()
    for number in range(MAX_CLIENTS_PER_ROLE):
        arbitration.update(number, "", number, None)
    with pytest.raises(RequestError) as caught:
        arbitration.update("late", "", None, None)
    assert caught.value.code is StatusCode.RESOURCE_EXHAUSTED


def test_arbitration_unset_election_id_never_writes() -> None:
    arbitration = Arbitration()
    arbitration.update("a", "", None, None)
    assert not arbitration.is_primary("", None)
    assert not arbitration.is_primary("", 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.one_of(st.just(GONE), st.none(), st.integers(0, 6))),
        max_size=30,
    )
)
def test_arbitration_any_history_has_at_most_one_primary_with_the_highest_id_ever(
    events: list[tuple[int, int | str | None]],
) -> None:
    arbitration = Arbitration()
    held: dict[int, int | None] = {}
    highest: int | None = None
    for client, what in events:
        if isinstance(what, str):
            arbitration.disconnect(client)
            held.pop(client, None)
            continue
        if what is not None and any(i == what for c, i in held.items() if c != client):
            with pytest.raises(RequestError):
                arbitration.update(client, "", what, None)
            continue
        arbitration.update(client, "", what, None)
        held[client] = what
        if what is not None:
            highest = what if highest is None else max(highest, what)
    views = {client: arbitration.view(client) for client in held}
    primaries = [c for c, v in views.items() if v is not None and v.standing is P]
    assert primaries == [c for c, i in held.items() if i is not None and i == highest]
