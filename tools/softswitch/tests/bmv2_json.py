"""Builds small BMv2 JSON programs, so that a test shows just the construct it is about."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]

STANDARD_METADATA = [
    ["ingress_port", 9, False],
    ["egress_spec", 9, False],
    ["egress_port", 9, False],
    ["instance_type", 32, False],
    ["packet_length", 32, False],
    ["enq_timestamp", 32, False],
    ["enq_qdepth", 19, False],
    ["deq_timedelta", 32, False],
    ["deq_qdepth", 19, False],
    ["ingress_global_timestamp", 48, False],
    ["egress_global_timestamp", 48, False],
    ["mcast_grp", 16, False],
    ["egress_rid", 16, False],
    ["checksum_error", 1, False],
    ["parser_error", 32, False],
    ["priority", 3, False],
    ["_padding", 3, False],
]
ALIASES = [
    ["queueing_metadata.enq_timestamp", ["standard_metadata", "enq_timestamp"]],
    ["queueing_metadata.enq_qdepth", ["standard_metadata", "enq_qdepth"]],
    ["queueing_metadata.deq_timedelta", ["standard_metadata", "deq_timedelta"]],
    ["queueing_metadata.deq_qdepth", ["standard_metadata", "deq_qdepth"]],
    [
        "intrinsic_metadata.ingress_global_timestamp",
        ["standard_metadata", "ingress_global_timestamp"],
    ],
    [
        "intrinsic_metadata.egress_global_timestamp",
        ["standard_metadata", "egress_global_timestamp"],
    ],
    ["intrinsic_metadata.mcast_grp", ["standard_metadata", "mcast_grp"]],
    ["intrinsic_metadata.egress_rid", ["standard_metadata", "egress_rid"]],
    ["intrinsic_metadata.priority", ["standard_metadata", "priority"]],
]
ERRORS = {
    "NoError": 0,
    "PacketTooShort": 1,
    "NoMatch": 2,
    "StackOutOfBounds": 3,
    "HeaderTooShort": 4,
    "ParserTimeout": 5,
    "ParserInvalidArgument": 6,
}


def field(header: str, name: str) -> Json:
    """A field as a parameter or operand."""
    return {"type": "field", "value": [header, name]}


def const(value: int) -> Json:
    """A constant."""
    return {"type": "hexstr", "value": f"{'-' if value < 0 else ''}0x{abs(value):x}"}


def param(index: int) -> Json:
    """An action's parameter, as a primitive's parameter."""
    return {"type": "runtime_data", "value": index}


def op(name: str, left: Json | None, right: Json, cond: Json | None = None) -> Json:
    """An operation."""
    value: Json = {"op": name, "left": left, "right": right}
    if cond is not None:
        value["cond"] = cond
    return {"type": "expression", "value": value}


def primitive(name: str, *parameters: Json) -> Json:
    """A primitive call."""
    return {"op": name, "parameters": list(parameters)}


def assign(header: str, name: str, value: Json) -> Json:
    """`header.name = value`."""
    if value["type"] == "expression":
        value = {"type": "expression", "value": value}
    return primitive("assign", field(header, name), value)


def extract(header: str) -> Json:
    """`packet.extract(header)`."""
    return {"op": "extract", "parameters": [{"type": "regular", "value": header}]}


class Program:
    """A program under construction. Fields are lists of [name, width] or [name, width, signed]."""

    def __init__(self) -> None:
        self.header_types: list[Json] = []
        self.headers: list[Json] = []
        self.stacks: list[Json] = []
        self.states: list[Json] = []
        self.actions: list[Json] = []
        self.ingress: Json = self._pipeline("ingress", 0)
        self.egress: Json = self._pipeline("egress", 1)
        self.deparser: list[str] = []
        self.counters: list[Json] = []
        self.calculations: list[Json] = []
        self.checksums: list[Json] = []
        self.extra: Json = {}
        self.header("standard_metadata", STANDARD_METADATA, metadata=True)

    @staticmethod
    def _pipeline(name: str, id_: int) -> Json:
        return {
            "name": name,
            "id": id_,
            "init_table": None,
            "tables": [],
            "action_profiles": [],
            "conditionals": [],
        }

    def header(
        self, name: str, fields: list[list[Any]], *, metadata: bool = False, max_length: int = 0
    ) -> None:
        """A header or metadata instance with a type of its own."""
        type_: Json = {"name": f"{name}_t", "id": len(self.header_types), "fields": fields}
        if max_length:
            type_["max_length"] = max_length
        self.header_types.append(type_)
        self.headers.append(
            {
                "name": name,
                "id": len(self.headers),
                "header_type": f"{name}_t",
                "metadata": metadata,
            }
        )

    def stack(self, name: str, fields: list[list[Any]], size: int) -> None:
        """A header stack with its elements `name[0]`, `name[1]`, ..."""
        self.header_types.append(
            {"name": f"{name}_t", "id": len(self.header_types), "fields": fields}
        )
        first = len(self.headers)
        for i in range(size):
            self.headers.append(
                {
                    "name": f"{name}[{i}]",
                    "id": first + i,
                    "header_type": f"{name}_t",
                    "metadata": False,
                }
            )
        self.stacks.append(
            {
                "name": name,
                "id": len(self.stacks),
                "header_type": f"{name}_t",
                "size": size,
                "header_ids": list(range(first, first + size)),
            }
        )

    def state(
        self,
        name: str,
        ops: list[Json],
        key: list[Json] | None = None,
        transitions: list[tuple[int | None, int | None, str | None]] | None = None,
    ) -> None:
        """A parser state; transitions are (value, mask, next), value None for the default."""
        rows = [
            {
                "type": "default" if value is None else "hexstr",
                "value": None if value is None else hex(value),
                "mask": None if mask is None else hex(mask),
                "next_state": following,
            }
            for value, mask, following in (transitions or [(None, None, None)])
        ]
        self.states.append(
            {
                "name": name,
                "id": len(self.states),
                "parser_ops": ops,
                "transitions": rows,
                "transition_key": key or [],
            }
        )

    def action(self, name: str, params: list[tuple[str, int]], primitives: list[Json]) -> int:
        """An action; returns its id."""
        self.actions.append(
            {
                "name": name,
                "id": len(self.actions),
                "runtime_data": [{"name": n, "bitwidth": w} for n, w in params],
                "primitives": primitives,
            }
        )
        return len(self.actions) - 1

    def table(
        self,
        name: str,
        keys: list[tuple[str, str, str]],
        actions: list[int],
        *,
        default: int,
        default_data: list[int] | None = None,
        after: str | None = None,
        next_tables: dict[str, str | None] | None = None,
        size: int = 1024,
        counters: bool = False,
        entries: list[Json] | None = None,
        egress: bool = False,
        mask: int | None = None,
    ) -> None:
        """A table; keys are (header, field, match kind). A pipeline starts with its first one."""
        kinds = {kind for _, _, kind in keys}
        match = next((k for k in ("range", "ternary", "lpm") if k in kinds), "exact")
        names = [self.actions[i]["name"] for i in actions]
        row: Json = {
            "name": name,
            "id": len(self.ingress["tables"]) + len(self.egress["tables"]),
            "key": [
                {
                    "match_type": kind,
                    "name": f"{header}.{member}",
                    "target": [header, member],
                    "mask": None if mask is None else hex(mask),
                }
                for header, member, kind in keys
            ],
            "match_type": match,
            "type": "simple",
            "max_size": size,
            "with_counters": counters,
            "support_timeout": False,
            "direct_meters": None,
            "action_ids": actions,
            "actions": names,
            "base_default_next": after,
            "next_tables": dict.fromkeys(names, after) if next_tables is None else next_tables,
            "default_entry": {
                "action_id": default,
                "action_const": False,
                "action_data": [hex(v) for v in default_data or []],
                "action_entry_const": False,
            },
        }
        if entries is not None:
            row["entries"] = entries
        pipeline = self.egress if egress else self.ingress
        pipeline["tables"].append(row)
        if pipeline["init_table"] is None:
            pipeline["init_table"] = name

    def document(self) -> Json:
        """The JSON object."""
        return {
            "__meta__": {"version": [2, 23], "compiler": "hand"},
            "header_types": self.header_types,
            "headers": self.headers,
            "header_stacks": self.stacks,
            "header_union_types": [],
            "header_unions": [],
            "header_union_stacks": [],
            "field_lists": [],
            "errors": [[name, code] for name, code in ERRORS.items()],
            "enums": [],
            "parsers": [
                {
                    "name": "parser",
                    "id": 0,
                    "init_state": self.states[0]["name"],
                    "parse_states": self.states,
                }
            ],
            "parse_vsets": [],
            "deparsers": [{"name": "deparser", "id": 0, "order": self.deparser, "primitives": []}],
            "meter_arrays": [],
            "counter_arrays": self.counters,
            "register_arrays": [],
            "calculations": self.calculations,
            "learn_lists": [],
            "actions": self.actions,
            "pipelines": [self.ingress, self.egress],
            "checksums": self.checksums,
            "force_arith": [],
            "extern_instances": [],
            "field_aliases": ALIASES,
            **self.extra,
        }

    def encode(self) -> bytes:
        """The JSON text."""
        return json.dumps(self.document()).encode()


def forwarding(header_fields: list[list[Any]], *, port: int = 2) -> Program:
    """A program that parses one header `h` and sends every packet out of `port`; no tables yet.

    The action `send` (id 0) sets the port; `nop` (id 1) does nothing.
    """
    program = Program()
    program.header("h", header_fields)
    program.state("start", [extract("h")])
    program.deparser = ["h"]
    program.action("send", [], [assign("standard_metadata", "egress_spec", const(port))])
    program.action("nop", [], [])
    return program
