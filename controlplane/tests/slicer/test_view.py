"""What a role sees of the program."""

from __future__ import annotations

import pytest
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4i
from dfvisor.slicer.roles import Role
from dfvisor.slicer.view import LEARN_FIELDS, role_view, view_cookie


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("vn/red", Role("red")),
        ("slice/red/gold", Role("red", "gold")),
        ("", None),
        ("vn/", None),
        ("vn/red/gold", None),
        ("slice/red", None),
        ("slice//gold", None),
        ("slice/red/", None),
        ("VN/red", None),
        ("admin", None),
    ],
)
def test_role_name_is_read_or_refused(text: str, role: Role | None) -> None:
    assert Role.parse(text) == role
    if role is not None:
        assert str(role) == text


@pytest.mark.parametrize("whole_vn", [True, False])
def test_view_has_the_slices_tables_and_what_they_refer_to(schema: Schema, whole_vn: bool) -> None:
    view = role_view(schema.proto, whole_vn)
    assert [table.preamble.alias for table in view.tables] == [
        "flow",
        "slice_path",
        "slice_forward",
    ]
    names = {action.preamble.alias for action in view.actions}
    flows = {"permit", "permit_on_path", "deny", "demote", "to_controller"}
    assert names == flows | {"set_path", "forward", "NoAction"}
    assert {counter.preamble.alias for counter in view.direct_counters} == {
        "flow_counter",
        "slice_forward_counter",
    }
    sizes = {one.preamble.alias: one.size for one in (*view.counters, *view.meters)}
    cells = {} if whole_vn else {"drops": 64, "slice_meters": 1, "punt_meters": 1}
    assert sizes == cells
    assert not view.action_profiles
    assert [one.preamble.alias for one in view.digests] == (["learn_t"] if whole_vn else [])
    fields = [one.name for one in view.type_info.structs["learn_t"].members]
    assert fields == (list(LEARN_FIELDS) if whole_vn else [])
    timeouts = {table.preamble.alias: table.idle_timeout_behavior for table in view.tables}
    assert timeouts == {
        "flow": p4i.Table.NOTIFY_CONTROL,
        "slice_path": p4i.Table.NO_TIMEOUT,
        "slice_forward": p4i.Table.NO_TIMEOUT,
    }
    headers = {
        header.preamble.name: [one.name for one in header.metadata]
        for header in view.controller_packet_metadata
    }
    own = ["slice_id"] if whole_vn else []
    assert headers == {
        "packet_out": ["port", "as_ingress"],
        "packet_in": ["port", *own, "reason", "cookie"],
    }


def test_view_is_as_large_as_the_quota(schema: Schema) -> None:
    assert {table.size for table in role_view(schema.proto, True, 40).tables} == {40}
    full = {table.preamble.alias: table.size for table in schema.proto.tables}
    for table in role_view(schema.proto, True, 1 << 30).tables:
        assert table.size == full[table.preamble.alias]


@pytest.mark.parametrize("whole_vn", [True, False])
def test_view_renumbers_nothing(schema: Schema, whole_vn: bool) -> None:
    view = Schema(role_view(schema.proto, whole_vn))
    for table in view.tables.values():
        full = schema.table(table.name)
        assert table.id == full.id
        fields = {field.name: field.id for field in full.fields}
        assert all(fields[field.name] == field.id for field in table.fields)
        for name, action in table.actions.items():
            assert action.id == full.actions[name].id


def test_view_of_a_slice_has_no_slice_id(schema: Schema) -> None:
    view = Schema(role_view(schema.proto, whole_vn=False))
    for name in ("flow", "slice_path", "slice_forward"):
        shown = [field.name for field in view.table(name).fields]
        assert shown == [
            field.name for field in schema.table(name).fields if field.name != "slice_id"
        ]


def test_view_of_a_vn_has_a_slice_id_as_wide_as_a_gre_key(schema: Schema) -> None:
    view = Schema(role_view(schema.proto, whole_vn=True))
    for table in view.tables.values():
        assert (table.fields[0].name, table.fields[0].width) == ("slice_id", 32)


def test_view_cookie_tells_views_apart(schema: Schema) -> None:
    views = [role_view(schema.proto, whole) for whole in (True, False, True)]
    cookies = [view_cookie(view) for view in views]
    assert cookies[0] == cookies[2] != cookies[1]
