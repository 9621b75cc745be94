"""Versions of records: older ones are brought up to date when read, newer ones are bad records."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from dfvisor.errors import StoreError
from dfvisor.model.records import Switch
from dfvisor.store import codec, grants, owners, reports, schema, stats
from dfvisor.store.codec import Retired, decode, decode_page, decode_switch, encode


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if switches, pages and the ends of VNs were of version 3: made up, but nothing is faked of
    how they are read.
    """

    def named_otherwise(record: dict[str, Any]) -> dict[str, Any]:
        return {("device_id" if key == "id" else key): value for key, value in record.items()}

    def in_full(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "vtep": record["vtep"].replace("x", "192.0.2.")}

    def counted_from_0(record: dict[str, Any]) -> dict[str, Any]:
        return {"revision": record["last"] + 1}

    def same(record: dict[str, Any]) -> dict[str, Any]:
        return record

    def with_slices_called_lanes(record: dict[str, Any]) -> dict[str, Any]:
        return {("slices" if key == "lanes" else key): value for key, value in record.items()}

    monkeypatch.setitem(schema.MIGRATIONS, "switch", (named_otherwise, in_full))
    monkeypatch.setitem(schema.MIGRATIONS, "Retired", (counted_from_0, same))
    monkeypatch.setitem(schema.MIGRATIONS, "page", (with_slices_called_lanes, same))


@pytest.mark.usefixtures("third")
@pytest.mark.parametrize(
    "data",
    [
        b'{"schema":1,"id":7,"vtep":"x7"}',
        b'{"schema":2,"device_id":7,"vtep":"x7"}',
        b'{"schema":3,"device_id":7,"vtep":"192.0.2.7"}',
    ],
    ids=["two steps", "one step", "newest"],
)
def test_older_record_is_brought_up_to_date(data: bytes) -> None:
    switch = decode_switch(data, "s7", "/switches/s7")
    assert (switch.device_id, str(switch.vtep)) == (7, "192.0.2.7")
    assert b'"schema":3' in codec.encode_switch(switch)


@pytest.mark.usefixtures("third")
def test_older_struct_is_brought_up_to_date() -> None:
    assert decode(b'{"schema":1,"last":4}', Retired, "p").revision == 5
    assert decode(b'{"last":4}', Retired, "p").revision == 5  # without a version: the first
    assert decode(b'{"schema":3,"revision":5}', Retired, "p").revision == 5
    with pytest.raises(StoreError, match=r"/x: bad record: .*revision"):
        decode(b'{"schema":3,"last":4}', Retired, "/x")


@pytest.mark.usefixtures("third")
def test_older_page_is_brought_up_to_date() -> None:
    assert list(decode_page(b'{"schema":1,"lanes":{"a":{"key":1}}}', "p")) == [("slices", "a")]


@pytest.mark.parametrize("version", [2, 0, -1, "1", None, True, 1.0])
def test_record_of_an_unknown_version_is_a_bad_record(version: object) -> None:
    body = {"schema": version, "device_id": 1, "vtep": "192.0.2.1"}
    with pytest.raises(StoreError, match=r"/switches/s: bad record: schema"):
        decode_switch(encode(body), "s", "/switches/s")
    with pytest.raises(StoreError, match="bad record"):
        decode(encode({"schema": version, "revision": 1}), Retired, "p")


def test_every_record_in_the_database_says_the_newest_version() -> None:
    kinds = {
        kind
        for module in (codec, grants, owners, reports, stats)
        for kind in vars(module).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__.startswith("dfvisor.store.")
    }
    parts = {codec.Delta, stats.Counter, stats.Drop, stats.PortCounters, stats.SwitchStats}
    parts |= {
        stats.VnApplied,
        stats.PortSeen,
        stats.Latency,
        stats.RoleCount,
    }  # these stand in others
    assert parts < kinds
    for kind in kinds - parts:
        (said,) = [field for field in msgspec.structs.fields(kind) if field.name == "schema"]
        assert said.default == schema.newest(kind.__name__), kind
    assert b'"schema":1' in codec.encode_switch(
        Switch(name="s", device_id=1, vtep=codec.form.ipv4("192.0.2.1"))
    )
