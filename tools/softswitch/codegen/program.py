"""The whole generated file: structs, parser, pipelines, deparser, and what ties them together.

The order of things around the pipelines is simple_switch's: parse, verify checksums, ingress; then
multicast, or drop, or unicast; per copy egress, drop, update checksums, deparse.
"""

from __future__ import annotations

from softswitch import ir
from softswitch.codegen.control import PipelineGen, action_ids, used_actions, write_actions
from softswitch.codegen.deparser import header_bytes, write_checksums, write_deparser
from softswitch.codegen.expr import Value
from softswitch.codegen.keys import key_layout
from softswitch.codegen.layout import Layout, words
from softswitch.codegen.parser import ParserGen
from softswitch.codegen.statements import StatementGen, param_total
from softswitch.codegen.writer import Writer, c_string
from softswitch.errors import UnsupportedError


def arg_words(program: ir.Program, table: ir.Table) -> int:
    """The most argument words that an action of the table takes; one names a profile's member."""
    if table.profile is not None:
        return 1
    return max((param_total(program.actions[i]) for i in action_ids(table)), default=0)


def generate(program: ir.Program) -> str:
    """C text that defines `sw_program`; raises UnsupportedError for what cannot be expressed."""
    w = Writer()
    layout = Layout(program)
    counters = {name: i for i, name in enumerate(program.counters)}
    tables = {name: i for i, name in enumerate(program.tables)}
    w.line("/* Generated from a BMv2 JSON program; do not edit. */")
    # P4 programs may compare a field with itself, or with what it can never hold
    for warning in ("-Wtype-limits", "-Wtautological-compare"):
        w.line(f'#pragma GCC diagnostic ignored "{warning}"')
    for header in ("bits.h", "wide.h", "checksum.h", "crc.h", "engine.h"):
        w.line(f'#include "{header}"')
    w.line()
    layout.declare(w)
    ParserGen(layout, w).write()
    write_checksums(layout, w)
    write_actions(layout, w, counters)
    pipelines = PipelineGen(layout, w, tables)
    pipelines.write(program.ingress)
    pipelines.write(program.egress)
    write_deparser(layout, w)
    _Receive(layout, w).write()
    _descriptor(program, w)
    return w.text()


class _Receive:
    """What happens to a packet around the pipelines."""

    def __init__(self, layout: Layout, w: Writer) -> None:
        self.layout = layout
        self.program = layout.program
        self.w = w
        self.statements = StatementGen(layout, {}, w, "packet path")

    def _set(self, name: str, text: str) -> None:
        """Store into an intrinsic field, if the program has it."""
        ref = self.program.find_field(name)
        if ref is not None:
            width = self.layout.field_type(ref).width
            mask = f"({text}) & 0x{(1 << width) - 1:x}ull" if width < 64 else text
            self.statements.store(self.layout.field(ref), width, Value(mask, 1))

    def _get(self, name: str) -> str | None:
        ref = self.program.find_field(name)
        return None if ref is None else self.layout.field(ref)

    def write(self) -> None:
        """`send` and `receive`."""
        if self._clones(ir.CloneEgress):
            self.w.line(
                "static void sw_keep(const struct sw_packet *, struct phv *, const struct phv *);"
            )
            args = "struct sw_engine *, const struct sw_packet *, const struct phv *"
            self.w.line(f"static void sw_clone({args});")
        if self._clones(ir.Again):
            args = "struct sw_engine *, const struct sw_packet *, const struct phv *"
            what = "const uint8_t *, uint32_t, uint32_t, uint32_t"
            self.w.line(f"static void sw_again({args}, {what});")
        self._write_send()
        if self._clones(ir.CloneIngress):
            self._write_ingress_clone()
        self._write_pass()
        if self._clones(ir.Again):
            self._write_again()
        self._write_receive()

    def _clones(self, *kinds: type[ir.Statement]) -> bool:
        return any(isinstance(s, kinds) for a in used_actions(self.program) for s in a.body)

    def _write_send(self) -> None:
        w = self.w
        args = "struct sw_engine *e, struct sw_packet *k, struct phv *p, uint32_t port"
        with w.block(f"static void sw_send({args})"):
            priority = self._get("intrinsic_metadata.priority")
            if priority is not None:
                with w.block(f"if ({priority} >= SW_QUEUES)"):
                    w.line("e->drops.priority++;")
                    w.line("return;")
            self._set("intrinsic_metadata.egress_global_timestamp", "sw_packet_us(e)")
            self._set("queueing_metadata.enq_timestamp", "sw_packet_us(e)")
            queue = priority if priority is not None else "0"
            self._set("queueing_metadata.enq_qdepth", f"sw_queue_depth(e, port, {queue})")
            for name in ("deq_timedelta", "deq_qdepth"):
                self._set(f"queueing_metadata.{name}", "0")
            w.line(f"const uint32_t queue = {queue};")
            if priority is not None:
                self._set("queueing_metadata.qid", priority)
            self._set("standard_metadata.egress_port", "port")
            # anything but the drop port
            self._set("standard_metadata.egress_spec", "SW_DROP_PORT + 1")
            self._set("standard_metadata.packet_length", "k->length")
            w.line("k->exit = false;")
            clones = self._clones(ir.CloneEgress)
            if clones:
                w.line("k->cloned = false;")
            w.line("sw_egress(e, k, p);")
            if clones:
                w.line("struct phv clone;")
                w.line("const bool cloned = k->cloned;")
                w.line("if (cloned)")
                w.line("    sw_keep(k, &clone, p);")
            passed = f"{self._get('standard_metadata.egress_spec')} != SW_DROP_PORT"
            if self._again(recirculates=True):
                with w.block(f"if ({passed} && k->recirculate)"):
                    self._write_recirculate()
                passed += " && !k->recirculate"
            with w.block(f"if ({passed})"):
                w.line("uint8_t *out = sw_out_begin(e, port);")
                with w.block("if (out)"):
                    w.line("sw_update_checksums(k, p);")
                    w.line("const uint32_t n = sw_deparse(p, out);")
                    w.line("uint32_t rest = k->len - k->offset;")
                    if self._clones(ir.CloneEgress, ir.CloneIngress):
                        self._write_truncate()
                    else:
                        w.line("sw_out_commit(e, port, queue, n, k->data + k->offset, rest);")
            if clones:
                w.line("if (cloned)")
                w.line("    sw_clone(e, k, &clone);")
        w.line()
        if clones:
            self._write_keep()
            self._write_clone()

    def _again(self, *, recirculates: bool) -> bool:
        statements = (s for a in used_actions(self.program) for s in a.body)
        return any(isinstance(s, ir.Again) and s.recirculates is recirculates for s in statements)

    def _write_recirculate(self) -> None:
        w = self.w
        w.line("const uint32_t rest = k->len - k->offset;")
        w.line("uint8_t *whole = sw_room(e, sw_program.header_bytes + rest);")
        with w.block("if (whole)"):
            w.line("sw_update_checksums(k, p);")
            w.line("const uint32_t n = sw_deparse(p, whole);")
            w.line("if (rest)")
            w.line("    memcpy(whole + n, k->data + k->offset, rest);")
            instance = "SW_INSTANCE_RECIRCULATED"
            w.line(f"sw_again(e, k, p, whole, n + rest, k->recirculate, {instance});")

    def _write_again(self) -> None:
        """Begin anew with other bytes; the metadata of a list are there before they are parsed."""
        w = self.w
        args = "struct sw_engine *e, const struct sw_packet *k, const struct phv *o"
        what = "const uint8_t *data, uint32_t len, uint32_t list, uint32_t instance"
        no_error = self.program.errors.get("NoError", 0)
        with w.block(f"static void sw_again({args}, {what})"):
            with w.block("if (k->passes == SW_MAX_PASSES)"):
                w.line("e->drops.passes++;")
                w.line("return;")
            w.line("struct phv phv;")
            w.line("struct phv *const p = &phv;")
            start = f".error = {no_error}, .length = len, .passes = k->passes + 1"
            w.line("struct sw_packet again =")
            w.line(f"    {{.data = data, .len = len, .port = k->port, {start}}};")
            w.line("memset(p, 0, sizeof *p);")
            w.line("(void)o;")
            self._copy_fields("list", "p", "o")
            self._set("standard_metadata.instance_type", "instance")
            self._set("standard_metadata.packet_length", "len")
            w.line("sw_pass(e, &again, p);")
        w.line()

    def _write_truncate(self) -> None:
        w = self.w
        w.line("uint32_t head = n;")
        with w.block("if (k->truncate && k->truncate < n + rest)"):
            w.line("head = n < k->truncate ? n : k->truncate;")
            w.line("rest = k->truncate - head;")
        w.line("sw_out_commit(e, port, queue, head, k->data + k->offset, rest);")

    def _write_keep(self) -> None:
        """The copy of a packet: its headers, and of the metadata what the field list names."""
        w = self.w
        args = "const struct sw_packet *k, struct phv *c, const struct phv *p"
        with w.block(f"static void sw_keep({args})"):
            w.line("*c = *p;")
            with w.block():
                w.line("struct phv *const p = c;")
                for name, header in self.program.headers.items():
                    if header.metadata:
                        lvalue = self.layout.header(name)
                        w.line(f"memset(&{lvalue}, 0, sizeof {lvalue});")
            self._copy_fields("k->clone_list", "c", "p")
        w.line()

    def _copy_fields(self, chosen: str, target: str, source: str) -> None:
        """The fields of a list from one phv to another."""
        w = self.w
        with w.block(f"switch ({chosen})"):
            for place, fields in enumerate(self.program.field_lists.values()):
                w.line(f"case {place + 1}:")
                for ref in fields:
                    member = self.layout.field(ref).removeprefix("p")
                    w.line(f"    memcpy(&{target}{member}, &{source}{member}, ")
                    w.line(f"           sizeof {source}{member});")
                w.line("    break;")

    def _write_ingress_clone(self) -> None:
        """Copies of the packet as it came, parsed again: ingress may have changed its headers."""
        w = self.w
        args = "struct sw_engine *e, const struct sw_packet *k, const struct phv *o"
        no_error = self.program.errors.get("NoError", 0)
        with w.block(f"static void sw_clone_ingress({args})"):
            w.line("const struct sw_session *s = sw_session(e, k->ingress_clone_session);")
            with w.block("for (uint32_t i = 0; s && i < s->n; i++)"):
                w.line("struct phv phv;")
                w.line("struct phv *const p = &phv;")
                w.line(
                    "struct sw_packet copied = {.data = k->data, .len = k->len, .port = k->port};"
                )
                w.line(f"copied.error = {no_error};")
                w.line("copied.length = k->len;")
                w.line("copied.now_us = k->now_us;")
                w.line("copied.truncate = s->truncate;")
                w.line("(void)o;")
                w.line("memset(p, 0, sizeof *p);")
                self._set("standard_metadata.ingress_port", "k->port")
                w.line("sw_parse(e, &copied, p);")
                self._copy_fields("k->ingress_clone_list", "p", "o")
                self._set("standard_metadata.instance_type", "SW_INSTANCE_INGRESS_CLONE")
                self._set("intrinsic_metadata.egress_rid", "s->replicas[i].rid")
                w.line("sw_send(e, &copied, p, s->replicas[i].port);")
        w.line()

    def _write_clone(self) -> None:
        """Each copy that the session asks for goes through egress."""
        w = self.w
        args = "struct sw_engine *e, const struct sw_packet *k, const struct phv *clone"
        with w.block(f"static void sw_clone({args})"):
            w.line("const struct sw_session *s = sw_session(e, k->clone_session);")
            with w.block("if (k->depth == SW_MAX_CLONES)"):
                w.line("e->drops.clones++;")
                w.line("return;")
            with w.block("for (uint32_t i = 0; s && i < s->n; i++)"):
                w.line("struct phv copy = *clone;")
                w.line("struct phv *const p = &copy;")
                w.line("struct sw_packet copied = *k;")
                w.line("copied.depth++;")
                w.line("copied.truncate = s->truncate;")
                w.line("copied.recirculate = 0;")
                self._set("standard_metadata.instance_type", "SW_INSTANCE_EGRESS_CLONE")
                self._set("intrinsic_metadata.egress_rid", "s->replicas[i].rid")
                w.line("sw_send(e, &copied, p, s->replicas[i].port);")
        w.line()

    def _digest(self) -> None:
        """Report the learn list that ingress asked for."""
        w = self.w
        if not self.program.learn_lists:
            return
        with w.block("switch (k->digest)"):
            for place, learn in enumerate(self.program.learn_lists.values()):
                w.line(f"case {place + 1}:")
                with w.block():
                    values = []
                    for ref in learn.fields:
                        width = self.layout.field_type(ref).width
                        if width > 64:
                            raise UnsupportedError(
                                "digest field of more than 64 bits", f"learn list '{learn.name}'"
                            )
                        values.append(f"(uint64_t){self.layout.field(ref)}")
                    w.line(f"const uint64_t values[] = {{{', '.join(values)}}};")
                    w.line(f"sw_event_digest(e, {place}, {len(values)}, values);")
                    w.line("break;")

    def _write_receive(self) -> None:
        """A packet begins."""
        w = self.w
        args = "struct sw_engine *e, const uint8_t *data, uint32_t len, uint32_t port"
        with w.block(f"static void sw_receive({args})"):
            w.line("struct phv phv;")
            w.line("struct phv *const p = &phv;")
            no_error = self.program.errors.get("NoError", 0)
            start = f".error = {no_error}, .length = len"
            w.line(
                f"struct sw_packet packet = {{.data = data, .len = len, .port = port, {start}}};"
            )
            w.line("memset(p, 0, sizeof *p);")
            self._set("standard_metadata.ingress_port", "port")
            self._set("standard_metadata.packet_length", "len")
            w.line("sw_pass(e, &packet, p);")
        w.line()

    def _write_pass(self) -> None:
        """From the parser to the queues."""
        w = self.w
        args = "struct sw_engine *e, struct sw_packet *k, struct phv *p"
        with w.block(f"static void sw_pass({args})"):
            w.line("k->now_us = sw_packet_us(e);")
            self._set("intrinsic_metadata.ingress_global_timestamp", "k->now_us")
            w.line("sw_parse(e, k, p);")
            w.line("sw_verify_checksums(k, p);")
            self._set("standard_metadata.parser_error", "k->error")
            self._set("standard_metadata.checksum_error", "k->bad_checksum")
            w.line("sw_ingress(e, k, p);")
            if self._clones(ir.CloneIngress):
                w.line("if (k->ingress_cloned)")
                w.line("    sw_clone_ingress(e, k, p);")
            self._digest()
            if self._again(recirculates=False):
                with w.block("if (k->resubmit)"):
                    again = "k->data, k->len, k->resubmit, SW_INSTANCE_RESUBMITTED"
                    w.line(f"sw_again(e, k, p, {again});")
                    w.line("return;")
            group = self._get("intrinsic_metadata.mcast_grp")
            if group is not None:
                with w.block(f"if ({group})"):
                    self._multicast(group)
            w.line(f"const uint32_t out = {self._get('standard_metadata.egress_spec')};")
            w.line("if (out == SW_DROP_PORT)")
            w.line("    return;")
            self._set("standard_metadata.instance_type", "SW_INSTANCE_NORMAL")
            w.line("sw_send(e, k, p, out);")
        w.line()

    def _multicast(self, group: str) -> None:
        w = self.w
        self._set("standard_metadata.instance_type", "SW_INSTANCE_REPLICATION")
        w.line(f"const struct sw_group_copies *copies = e->groups[{group} % SW_GROUPS];")
        with w.block("for (uint32_t i = 0; copies && i < copies->n; i++)"):
            w.line("struct phv copy = *p;")
            w.line("struct sw_packet copied = *k;")
            # the field names below are those of the copy
            with w.block():
                w.line("struct phv *const p = &copy;")
                self._set("intrinsic_metadata.egress_rid", "copies->replicas[i].rid")
                w.line("sw_send(e, &copied, p, copies->replicas[i].port);")
        w.line("return;")


def _descriptor(program: ir.Program, w: Writer) -> None:
    tables = list(program.tables.values())
    with w.block("static const struct sw_table_desc sw_tables[] =", ";"):
        for table in tables:
            overlapping = "true" if table.match is ir.Match.TERNARY else "false"
            w.line(
                f"{{{c_string(table.name)}, {key_layout(table).words}, "
                f"{arg_words(program, table)}, {table.max_size}, {overlapping}}},"
            )
        w.line("{0},")
    w.line()
    sizes = ", ".join([*(str(size) for size in program.counters.values()), "0"])
    w.line(f"static const uint32_t sw_counter_sizes[] = {{{sizes}}};")
    w.line()
    meters = list(program.meters.values())
    sizes = ", ".join([*(str(m.size) for m in meters), "0"])
    kinds = ", ".join([*("true" if m.packets else "false" for m in meters), "false"])
    w.line(f"static const uint32_t sw_meter_sizes[] = {{{sizes}}};")
    w.line(f"static const bool sw_meter_counts_packets[] = {{{kinds}}};")
    w.line()
    with w.block("static const struct sw_register_desc sw_registers[] =", ";"):
        for register in program.registers.values():
            w.line(f"{{{register.size}, {words(register.width)}}},")
        w.line("{0, 0},")
    w.line()
    metered = ", ".join([*(_metered(program, table) for table in tables), "SW_NO_METER"])
    w.line(f"static const uint8_t sw_table_meters[] = {{{metered}}};")
    w.line()
    with w.block("const struct sw_program sw_program =", ";"):
        w.line(f".n_tables = {len(tables)},")
        w.line(".tables = sw_tables,")
        w.line(f".n_counters = {len(program.counters)},")
        w.line(".counter_sizes = sw_counter_sizes,")
        w.line(f".n_meters = {len(program.meters)},")
        w.line(".meter_sizes = sw_meter_sizes,")
        w.line(".meter_counts_packets = sw_meter_counts_packets,")
        w.line(f".n_registers = {len(program.registers)},")
        w.line(".registers = sw_registers,")
        w.line(".table_meters = sw_table_meters,")
        w.line(f".n_profiles = {len(program.profiles)},")
        w.line(f".header_bytes = {max(1, header_bytes(program))},")
        w.line(".receive = sw_receive,")


def _metered(program: ir.Program, table: ir.Table) -> str:
    if table.meter is None:
        return "SW_NO_METER"
    packets = program.direct_meters[table.meter].packets
    return "SW_METER_PACKETS" if packets else "SW_METER_BYTES"
