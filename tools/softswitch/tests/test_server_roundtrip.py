"""Properties: whatever is written reads back equal and canonical, on both data planes."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from softswitch.server.dataplane import DataPlane, engine_builder
from softswitch.server.errors import RequestError
from softswitch.server.links import Links
from softswitch.server.pb import p4r
from softswitch.server.pipeline import Pipeline
from softswitch.server.values import encode
from softswitch.tests.fake_engine import FakeEngine
from softswitch.tests.p4client import Names, contract_config, exact, lpm, ternary

CONFIG = contract_config()
NAMES = Names(CONFIG.p4info)
CAPACITY = {table.preamble.id: table.size for table in CONFIG.p4info.tables}
KINDS = {
    "INSERT": p4r.Update.INSERT,
    "MODIFY": p4r.Update.MODIFY,
    "DELETE": p4r.Update.DELETE,
}


@pytest.fixture(params=["fake", "engine"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@st.composite
def entries(draw: st.DrawFn) -> p4r.TableEntry:
    """A valid entry with a key from a small set, so that histories meet the same key again."""
    table = draw(st.sampled_from(["exact_table", "lpm_table", "acl_table"]))
    small = st.integers(0, 2).map(encode)
    forward = ("forward", {"port": draw(st.integers(0, 511).map(encode))})
    label = (
        "label",
        {"value": draw(st.integers(0, 4095).map(encode)), "index": draw(small)},
    )
    metadata = draw(st.binary(max_size=3))
    if table == "exact_table":
        match = {"dst": exact(draw(small)), "port": exact(draw(small))}
        return NAMES.entry(table, match, draw(st.sampled_from([forward, label])), metadata=metadata)
    if table == "lpm_table":
        length = draw(st.integers(0, 3))
        value = draw(st.integers(0, 7)) >> (3 - length) << (32 - length)
        match = {"address": lpm(encode(value), length)} if length else {}
        return NAMES.entry(table, match, forward, metadata=metadata)
    mask = draw(st.integers(0, 3))
    match = {"label": exact(draw(small))}
    if mask:
        match["src"] = ternary(encode(draw(st.integers(0, 3)) & mask), encode(mask))
    priority = draw(st.integers(1, 2))
    return NAMES.entry(table, match, label, metadata=metadata, priority=priority)


histories = st.lists(st.tuples(st.sampled_from([*KINDS, "INSERT"]), entries()), max_size=40)


def _key(entry: p4r.TableEntry) -> bytes:
    key = p4r.TableEntry(table_id=entry.table_id, match=entry.match, priority=entry.priority)
    return key.SerializeToString(deterministic=True)


def _read(pipeline: Pipeline, query: p4r.TableEntry) -> list[p4r.TableEntry]:
    found = [
        entity.table_entry
        for message in pipeline.read(p4r.Entity(table_entry=query))
        for entity in message.entities
    ]
    return [entry for entry in found if not entry.is_const]


def _apply(model: dict[bytes, p4r.TableEntry], kind: str, entry: p4r.TableEntry) -> StatusCode:
    """What the specification says of this update, on a dict of entries by key."""
    key = _key(entry)
    if kind == "INSERT":
        if key in model:
            return StatusCode.ALREADY_EXISTS
        held = sum(other.table_id == entry.table_id for other in model.values())
        if held >= CAPACITY[entry.table_id]:
            return StatusCode.RESOURCE_EXHAUSTED
        model[key] = entry
    elif key not in model:
        return StatusCode.NOT_FOUND
    elif kind == "MODIFY":
        model[key] = entry
    else:
        del model[key]
    return StatusCode.OK


@given(history=histories)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_history_of_writes_leaves_what_a_plain_dict_would_hold(
    history: list[tuple[str, p4r.TableEntry]], data_plane: str, engine_cache: Path
) -> None:
    real = engine_builder(engine_cache)

    def build(bmv2_json: bytes) -> DataPlane:
        return FakeEngine(bmv2_json) if data_plane == "fake" else real(bmv2_json)

    pipeline = Pipeline(CONFIG, build, Links(()))
    try:
        model: dict[bytes, p4r.TableEntry] = {}
        for kind, entry in history:
            expected = _apply(model, kind, entry)
            update = p4r.Update(type=KINDS[kind], entity=p4r.Entity(table_entry=entry))
            try:
                pipeline.write(update)
                code = StatusCode.OK
            except RequestError as error:
                code = error.code
            assert code is expected
        everything = _read(pipeline, p4r.TableEntry())
        assert {_key(entry): entry for entry in everything} == model
        assert len(everything) == len(model)
        for entry in model.values():
            query = p4r.TableEntry(
                table_id=entry.table_id, match=entry.match, priority=entry.priority
            )
            if entry.match:
                assert _read(pipeline, query) == [entry]
        for table in NAMES.tables.values():
            counted = _read(
                pipeline,
                p4r.TableEntry(table_id=table.preamble.id, counter_data=p4r.CounterData()),
            )
            assert all(e.counter_data == p4r.CounterData() for e in counted)
    finally:
        pipeline.close()
