"""Updates that the engine takes as they come: they do what the thorough way does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from softswitch.server.batches import PER_TURN, WriteCall, write_each
from softswitch.server.dataplane import engine_builder
from softswitch.server.errors import RequestError
from softswitch.server.links import Links
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline
from softswitch.tests.p4client import Names, contract_config, exact, lpm, streams_config, ternary
from softswitch.tests.test_server_roundtrip import KINDS, entries

CONFIG = contract_config()
NAMES = Names(CONFIG.p4info)
MAC = b"\x02\0\0\0\0\1"
FORWARD = ("forward", {"port": b"\5"})

Change = Callable[[p4r.Update], None]


def _entry(update: p4r.Update) -> p4r.TableEntry:
    return update.entity.table_entry


def _pad(update: p4r.Update) -> None:
    for match in _entry(update).match:
        if match.HasField("exact"):
            match.exact.value = b"\0" + match.exact.value


def _pad_param(update: p4r.Update) -> None:
    for param in _entry(update).action.action.params:
        param.value = b"\0" + param.value


def _pad_mask(update: p4r.Update) -> None:
    for match in _entry(update).match:
        if match.HasField("ternary"):
            match.ternary.mask = b"\0" + match.ternary.mask


def _reverse(update: p4r.Update) -> None:
    matches = list(_entry(update).match)
    del _entry(update).match[:]
    _entry(update).match.extend(reversed(matches))


def _twice(update: p4r.Update) -> None:
    _entry(update).match.extend(_entry(update).match[:1])


def _drop_match(update: p4r.Update) -> None:
    del _entry(update).match[:1]


def _drop_param(update: p4r.Update) -> None:
    del _entry(update).action.action.params[:1]


def _other_kind(update: p4r.Update) -> None:
    for match in _entry(update).match:
        match.optional.value = b"\1"


def _outside_of_mask(update: p4r.Update) -> None:
    for match in _entry(update).match:
        if match.HasField("ternary"):
            match.ternary.value = b"\xff"
        elif match.HasField("lpm"):
            match.lpm.value = b"\xff\xff\xff\xff"


def _too_wide(update: p4r.Update) -> None:
    for match in _entry(update).match[-1:]:
        match.exact.value = b"\1" * 30


def _no_mask(update: p4r.Update) -> None:
    for match in _entry(update).match:
        if match.HasField("ternary"):
            match.ternary.mask = b"\0"
            match.ternary.value = b"\0"


def _set(**fields: Any) -> Change:
    def change(update: p4r.Update) -> None:
        _entry(update).MergeFrom(p4r.TableEntry(**fields))

    return change


def _clear(*path: str) -> Change:
    def change(update: p4r.Update) -> None:
        message: Any = _entry(update)
        for name in path[:-1]:
            message = getattr(message, name)
        message.ClearField(path[-1])

    return change


def _kind(update: p4r.Update) -> None:
    update.type = p4r.Update.UNSPECIFIED


def _nothing(update: p4r.Update) -> None:
    """As it is."""


CHANGES: list[Change] = [
    _nothing, _pad, _pad_param, _pad_mask, _reverse, _twice, _drop_match, _drop_param, _other_kind,
    _outside_of_mask, _too_wide, _no_mask, _kind,
    _set(priority=1), _set(priority=-1), _set(is_const=True), _set(is_default_action=True),
    _set(controller_metadata=1 << 63), _set(metadata=b"x" * 200), _set(idle_timeout_ns=1),
    _set(counter_data=p4r.CounterData(packet_count=7)), _set(table_id=1 << 31),
    _set(meter_config=p4r.MeterConfig(cir=1)), _clear("priority"), _clear("action"),
    _clear("table_id"), _clear("action", "action", "action_id"),
]  # fmt: skip


def request(updates: list[p4r.Update]) -> WriteCall:
    """What a client that writes them sends."""
    message = p4r.WriteRequest(device_id=7, election_id=p4r.Uint128(low=1), updates=updates)
    return WriteCall.parse(message.SerializeToString())


def built(config: p4r.ForwardingPipelineConfig, cache: Path) -> Pipeline:
    return Pipeline(config, engine_builder(cache), Links(()))


def everything(pipeline: Pipeline) -> list[bytes]:
    """All entries of all tables, with their counters and how they are kept."""
    query = p4r.TableEntry(counter_data=p4r.CounterData())
    return sorted(
        entity.table_entry.SerializeToString(deterministic=True)
        for message in pipeline.read(p4r.Entity(table_entry=query))
        for entity in message.entities
    )


def outcome(error: RequestError | None) -> tuple[StatusCode, str]:
    return (StatusCode.OK, "") if error is None else (error.code, error.message)


def written_one_by_one(pipeline: Pipeline, call: WriteCall) -> list[RequestError | None]:
    errors: list[RequestError | None] = []
    for update in call.request.updates:
        try:
            pipeline.write(update)
        except RequestError as error:
            errors.append(error)
        else:
            errors.append(None)
    return errors


def written(pipeline: Pipeline, call: WriteCall) -> list[RequestError | None]:
    errors: list[RequestError | None] = []
    for _turn in write_each(pipeline, call, errors):
        pass
    return errors


@st.composite
def updates(draw: st.DrawFn) -> p4r.Update:
    kind = draw(st.sampled_from([*KINDS.values(), p4r.Update.INSERT]))
    made = p4r.Update(type=kind, entity=p4r.Entity(table_entry=draw(entries())))
    if draw(st.booleans()):
        draw(st.sampled_from(CHANGES))(made)
    return made


@given(history=st.lists(updates(), max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batch_ends_as_if_each_update_had_been_looked_at(
    history: list[p4r.Update], engine_cache: Path
) -> None:
    quick, thorough = built(CONFIG, engine_cache), built(CONFIG, engine_cache)
    try:
        got = [outcome(error) for error in written(quick, request(history))]
        # read anew: an entry may be kept as what came in, less what is not kept
        told = [outcome(error) for error in written_one_by_one(thorough, request(history))]
        assert got == told
        assert everything(quick) == everything(thorough)
    finally:
        quick.close()
        thorough.close()


def plain(kind: str, number: int, **fields: int) -> list[p4r.Update]:
    """An update of each kind of table."""
    source = ternary(MAC, b"\xff" * 6)
    made = [
        NAMES.entry(
            "exact_table",
            {"dst": exact(MAC), "port": exact(bytes([number]))},
            FORWARD,
            metadata=b"m",
        ),
        NAMES.entry("lpm_table", {"address": lpm(bytes([number, 0, 0, 0]), 8)}, FORWARD),
        NAMES.entry(
            "acl_table", {"label": exact(b"\3"), "src": source}, ("drop", {}),
            priority=number, controller_metadata=1 << 40,
        ),
        NAMES.entry("acl_table", {"label": exact(b"\3")}, ("drop", {}), priority=number),
    ]  # fmt: skip
    return [p4r.Update(type=KINDS[kind], entity=p4r.Entity(table_entry=e)) for e in made]


@pytest.fixture
def pipeline(engine_cache: Path) -> Iterator[Pipeline]:
    made = built(CONFIG, engine_cache)
    yield made
    made.close()


def test_plain_updates_are_all_taken_as_they_come(pipeline: Pipeline) -> None:
    kept = plain("MODIFY", 1)
    call = request([*plain("INSERT", 1), *plain("INSERT", 2), *kept, *plain("DELETE", 2)])
    assert pipeline.take(call.raw, 0, 0, 100) == (16, len(call.raw))
    found = [p4r.TableEntry.FromString(encoded) for encoded in everything(pipeline)]
    for entry in found:
        entry.ClearField("counter_data")
    assert [e for e in found if not e.is_const] == sorted(
        (u.entity.table_entry for u in kept), key=lambda e: e.SerializeToString(deterministic=True)
    )


EXACT, LPM, TERNARY = range(3)  # places in `plain`


@pytest.mark.parametrize(
    ("place", "change"),
    [
        pytest.param(EXACT, _pad, id="value-padded"),
        pytest.param(TERNARY, _pad_mask, id="mask-padded"),
        pytest.param(EXACT, _pad_param, id="argument-padded"),
        pytest.param(EXACT, _reverse, id="fields-out-of-order"),
        pytest.param(LPM, _twice, id="field-twice"),
        pytest.param(TERNARY, _drop_match, id="exact-field-missing"),
        pytest.param(EXACT, _drop_param, id="argument-missing"),
        pytest.param(TERNARY, _other_kind, id="other-match-kind"),
        pytest.param(LPM, _outside_of_mask, id="bits-beyond-the-prefix"),
        pytest.param(TERNARY, _no_mask, id="empty-mask"),
        pytest.param(EXACT, _too_wide, id="too-wide"),
        pytest.param(EXACT, _kind, id="no-update-type"),
        pytest.param(EXACT, _set(priority=1), id="priority-of-an-exact-table"),
        pytest.param(TERNARY, _set(priority=-1), id="negative-priority"),
        pytest.param(TERNARY, _clear("priority"), id="no-priority"),
        pytest.param(EXACT, _set(is_const=True), id="const"),
        pytest.param(EXACT, _set(is_default_action=True), id="default-action"),
        pytest.param(EXACT, _set(idle_timeout_ns=1), id="idle-timeout"),
        pytest.param(EXACT, _set(counter_data=p4r.CounterData()), id="counter"),
        pytest.param(EXACT, _set(meter_config=p4r.MeterConfig(cir=1)), id="meter"),
        pytest.param(EXACT, _clear("table_id"), id="no-table"),
        pytest.param(EXACT, _set(table_id=99), id="unknown-table"),
        pytest.param(EXACT, _clear("action"), id="no-action"),
        pytest.param(EXACT, _clear("action", "action", "action_id"), id="no-action-id"),
    ],
)
def test_what_is_not_plain_is_left_with_all_that_follows(
    place: int, change: Change, pipeline: Pipeline
) -> None:
    fresh = plain("INSERT", 100)
    change(fresh[place])
    raw = request(fresh).raw
    count, at = pipeline.take(raw, 0, 0, 100)
    assert count == place
    assert pipeline.take(raw, at, 0, 100) == (0, at)
    assert pipeline.take(raw, at, 1, 100) == (len(fresh) - place - 1, len(raw))


def test_what_the_table_refuses_is_left_too(pipeline: Pipeline) -> None:
    raw = request(plain("INSERT", 1)[:1] * 2).raw
    assert pipeline.take(raw, 0, 0, 100)[0] == 1
    for kind in ("MODIFY", "DELETE"):
        assert pipeline.take(request(plain(kind, 2)[:1]).raw, 0, 0, 100)[0] == 0


def test_a_batch_longer_than_a_turn_is_interrupted(pipeline: Pipeline) -> None:
    table = "lpm_table"
    history = [
        p4r.Update(
            type=kind,
            entity=p4r.Entity(
                table_entry=NAMES.entry(table, {"address": lpm(b"\x0a\0\0\0", 8)}, FORWARD)
            ),
        )
        for _pair in range(PER_TURN)
        for kind in (p4r.Update.INSERT, p4r.Update.DELETE)
    ]
    errors: list[RequestError | None] = []
    turns = sum(1 for _turn in write_each(pipeline, request(history), errors))
    assert turns == 2
    assert errors == [None] * len(history)


def test_a_table_that_is_full_refuses_the_same_way(pipeline: Pipeline) -> None:
    size = NAMES.tables["exact_table"].size
    history = []
    for number in range(1, size + 3):
        key = {"dst": exact(bytes([number])), "port": exact(b"\1")}
        entry = NAMES.entry("exact_table", key, FORWARD)
        history.append(p4r.Update(type=p4r.Update.INSERT, entity=p4r.Entity(table_entry=entry)))
    codes = [outcome(error)[0] for error in written(pipeline, request(history))]
    assert codes == [StatusCode.OK] * size + [StatusCode.RESOURCE_EXHAUSTED] * 2


def test_requests_cut_or_changed_anywhere_are_survived(pipeline: Pipeline) -> None:
    rng, edges = Random(1), (0, 1, 0x7F, 0x80, 0xFF)
    raw = request([*plain("INSERT", 1), *plain("MODIFY", 1), *plain("DELETE", 1)]).raw
    for _round in range(3000):
        data = bytearray(raw[: rng.randint(0, len(raw))])
        for _change in range(rng.randint(0, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.choice((*edges, rng.randrange(256)))
        count, at = pipeline.take(bytes(data), 0, 0, 100)
        assert 0 <= count <= 12 and 0 <= at <= len(data)
        again, _at = pipeline.take(bytes(data), at, 1, 100)
        assert 0 <= again <= 12
    everything(pipeline)


def test_indirect_and_const_tables_are_left_to_the_thorough_way(engine_cache: Path) -> None:
    made = built(streams_config(), engine_cache)
    names = Names(streams_config().p4info)
    entry = names.entry("routes", {"mac": exact(MAC)})
    entry.action.action_profile_member_id = 1
    update = p4r.Update(type=p4r.Update.INSERT, entity=p4r.Entity(table_entry=entry))
    assert made.take(request([update]).raw, 0, 0, 1)[0] == 0
    made.close()
