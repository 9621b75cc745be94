// SPDX-License-Identifier: Apache-2.0
// Every construct that the softswitch must do exactly as BMv2 does it, in one program. It means nothing as a switch.
// features.json is its compiled form, features.bmv2.json what BMv2 made of the packets there;
// `python -m softswitch.tests.record` makes both anew where p4c and BMv2 are installed.
#include <core.p4>
#include <v1model.p4>

error {
    BadVersion,
    BadLength
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header vlan_t {
    bit<3> pcp;
    bit<1> dei;
    bit<12> vid;
    bit<16> type;
}

header ipv4_t {
    bit<4> version;
    bit<4> ihl;
    bit<8> tos;
    bit<16> length;
    bit<16> id;
    bit<3> flags;
    bit<13> offset;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> src;
    bit<32> dst;
    varbit<320> options;
}

header udp_t {
    bit<16> src;
    bit<16> dst;
    bit<16> length;
    bit<16> checksum;
}

// Odd widths on purpose: nothing but the ends is at a byte.
header numbers_t {
    bit<3> kind;
    int<13> small;
    bit<130> wide;
    bit<6> tail;
    int<32> signed_number;
    bit<64> large;
}

header report_t {
    bit<32> error_code;
    bit<8> marks;
    bit<16> egress_port;
    bit<16> rid;
    bit<16> packet_length;
    bit<8> instance;
}

struct headers_t {
    report_t report;
    ethernet_t ethernet;
    vlan_t[3] vlan;
    ipv4_t ipv4;
    udp_t udp;
    numbers_t numbers;
    numbers_t copy;
}

struct metadata_t {
    bit<8> marks;
    bit<4> version;
    bit<16> payload_length;
    bit<1> bad_checksum;
    bit<16> group;
    bit<12> vid;
}

parser FeatureParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                     inout standard_metadata_t standard_metadata) {
    state start {
        meta.marks = 0;
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type, standard_metadata.ingress_port) {
            (0x8100, _): vlan;
            (0x88a8, _): vlan;
            (0x0800, _): peek;
            (0x1000 .. 0x10ff, 0 .. 2): numbers;
            (0x1200 &&& 0xfff0, 3): skip;
            default: accept;
        }
    }
    state vlan {
        packet.extract(hdr.vlan.next);
        transition select(hdr.vlan.last.type) {
            0x8100: vlan;
            0x0800: peek;
            0x1000 &&& 0xff00: numbers;
            default: accept;
        }
    }
    state peek {
        meta.version = packet.lookahead<bit<4>>();
        transition select(packet.lookahead<bit<8>>()) {
            0x40 &&& 0xf0: ipv4;
            default: reject_version;
        }
    }
    state reject_version {
        verify(false, error.BadVersion);
        transition accept;
    }
    state ipv4 {
        bit<8> first = packet.lookahead<bit<8>>();
        verify(first[3:0] >= 5, error.BadLength);
        packet.extract(hdr.ipv4, ((bit<32>)first[3:0] - 5) << 5);
        meta.payload_length = hdr.ipv4.length - ((bit<16>)hdr.ipv4.ihl << 2);
        transition select(hdr.ipv4.protocol, hdr.ipv4.offset) {
            (17, 0): udp;
            (253, _): numbers;
            default: accept;
        }
    }
    state udp {
        packet.extract(hdr.udp);
        transition select(hdr.udp.dst) {
            7: numbers;
            default: accept;
        }
    }
    state skip {
        packet.advance(((bit<32>)hdr.ethernet.type & 0xf) << 3);
        packet.extract(hdr.numbers);
        transition accept;
    }
    state numbers {
        packet.extract(hdr.numbers);
        transition select(hdr.numbers.kind) {
            7: again;
            default: accept;
        }
    }
    state again {
        packet.extract(hdr.copy);
        transition accept;
    }
}

control FeatureVerify(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum(hdr.ipv4.tos != 0x55,
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.tos, hdr.ipv4.length, hdr.ipv4.id,
              hdr.ipv4.flags, hdr.ipv4.offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src,
              hdr.ipv4.dst, hdr.ipv4.options }, hdr.ipv4.checksum, HashAlgorithm.csum16);
    }
}

control FeatureIngress(inout headers_t hdr, inout metadata_t meta,
                       inout standard_metadata_t standard_metadata) {
    counter(16, CounterType.packets_and_bytes) by_mark;
    direct_counter(CounterType.packets_and_bytes) acl_counter;

    action to_port(bit<9> port) {
        standard_metadata.egress_spec = port;
    }
    action to_group(bit<16> group) {
        meta.group = group;
        standard_metadata.mcast_grp = group;
    }
    action drop() {
        mark_to_drop(standard_metadata);
    }
    action mark(bit<8> value) {
        meta.marks = meta.marks |+| value;
    }
    action leave(bit<9> port) {
        standard_metadata.egress_spec = port;
        exit;
    }
    action count_mark() {
        by_mark.count((bit<32>)(meta.marks[3:0]));
    }
    action compute(bit<64> operand, int<13> delta) {
        hdr.numbers.small = hdr.numbers.small |-| delta;
        hdr.numbers.signed_number = (hdr.numbers.signed_number >> 3) - (int<32>)hdr.numbers.small;
        hdr.numbers.wide = (hdr.numbers.wide << 7) ^ ((bit<130>)operand * (bit<130>)hdr.numbers.large);
        hdr.numbers.large = hdr.numbers.large |-| operand;
        hdr.numbers.tail = hdr.numbers.tail + (bit<6>)(hdr.numbers.large >> hdr.numbers.tail);
        if (hdr.numbers.small < 0 || hdr.numbers.signed_number > -5) {
            hdr.numbers.large = hdr.numbers.wide[69:6] ++ hdr.numbers.kind == 67w5 ? 64w1 : ~hdr.numbers.large;
        }
    }
    action duplicate() {
        hdr.copy = hdr.numbers;
        hdr.copy.kind = hdr.copy.kind - 1;
    }
    action strip() {
        hdr.vlan[0].setInvalid();
    }
    action swap_tags() {
        vlan_t first = hdr.vlan[0];
        hdr.vlan[0] = hdr.vlan[1];
        hdr.vlan[1] = first;
    }
    action fresh() {
        hdr.vlan[0].setInvalid();
        hdr.vlan[0].setValid();
        hdr.vlan[0].vid = 9;
    }

    table by_port {
        key = { standard_metadata.ingress_port: exact; }
        actions = { to_port; to_group; drop; leave; NoAction; }
        default_action = drop();
    }
    table route {
        key = {
            hdr.ethernet.src: exact;
            hdr.ipv4.dst: lpm;
        }
        actions = { to_port; to_group; mark; }
        default_action = mark(1);
    }
    table acl {
        key = {
            hdr.ipv4.isValid(): exact;
            meta.vid: ternary;
            hdr.ipv4.src: lpm;
            hdr.udp.dst: optional;
            hdr.ethernet.dst & 0xffff00000000: ternary;
        }
        actions = { drop; mark; leave; @defaultonly NoAction; }
        counters = acl_counter;
    }
    table fixed {
        key = {
            hdr.ethernet.type: ternary;
            hdr.numbers.kind: ternary;
        }
        actions = { mark; duplicate; strip; swap_tags; fresh; NoAction; }
        const entries = {
            (0x8100 &&& 0xff00, 1): strip();
            (0x8100, _): swap_tags();
            (0x88a8, _): fresh();
            (0x1000 &&& 0xff80, 2 &&& 3): duplicate();
            (_, 4): mark(200);
        }
        default_action = mark(2);
    }
    table numbers {
        key = { hdr.numbers.kind: exact; }
        actions = { compute; NoAction; }
        default_action = compute(0x123456789abcdef0, -3);
    }

    apply {
        // fields of headers that are not there mean nothing; only as a key are they 0
        meta.vid = 0;
        if (hdr.vlan[0].isValid()) {
            meta.vid = hdr.vlan[0].vid;
        }
        by_port.apply();
        if (hdr.ipv4.isValid() && standard_metadata.parser_error == error.NoError) {
            if (!route.apply().hit) {
                meta.marks = meta.marks |+| 64;
            }
            meta.bad_checksum = standard_metadata.checksum_error;
            hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
        }
        switch (acl.apply().action_run) {
            mark: { count_mark(); }
            leave: { meta.marks = meta.marks |+| 99; }
            default: { meta.marks = meta.marks |+| 128; }
        }
        switch (fixed.apply().action_run) {
            duplicate:
            swap_tags: { meta.marks = meta.marks |+| 8; }
        }
        if (hdr.numbers.isValid()) {
            numbers.apply();
        }
        count_mark();
    }
}

control FeatureEgress(inout headers_t hdr, inout metadata_t meta,
                      inout standard_metadata_t standard_metadata) {
    action fill() {
        hdr.report.setValid();
        if (standard_metadata.parser_error == error.PacketTooShort) {
            hdr.report.error_code = 1;
        } else if (standard_metadata.parser_error == error.StackOutOfBounds) {
            hdr.report.error_code = 2;
        } else if (standard_metadata.parser_error == error.BadVersion) {
            hdr.report.error_code = 3;
        } else if (standard_metadata.parser_error == error.BadLength) {
            hdr.report.error_code = 4;
        } else if (standard_metadata.parser_error != error.NoError) {
            hdr.report.error_code = 5;
        }
        hdr.report.marks = meta.marks;
        hdr.report.egress_port = (bit<16>)standard_metadata.egress_port;
        hdr.report.rid = standard_metadata.egress_rid;
        hdr.report.packet_length = (bit<16>)standard_metadata.packet_length;
        hdr.report.instance = (bit<8>)standard_metadata.instance_type << 1 | (bit<8>)meta.bad_checksum;
    }
    action drop() {
        mark_to_drop(standard_metadata);
    }
    action rewrite(bit<48> source) {
        hdr.ethernet.src = source;
        hdr.ipv4.id = hdr.ipv4.id ^ 0xffff;
    }
    table copies {
        key = {
            standard_metadata.egress_rid: exact;
            standard_metadata.egress_port: exact;
        }
        actions = { drop; rewrite; NoAction; }
        default_action = NoAction();
    }
    apply {
        fill();
        copies.apply();
    }
}

control FeatureCompute(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.ipv4.isValid() && meta.bad_checksum == 0,
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.tos, hdr.ipv4.length, hdr.ipv4.id,
              hdr.ipv4.flags, hdr.ipv4.offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src,
              hdr.ipv4.dst, hdr.ipv4.options }, hdr.ipv4.checksum, HashAlgorithm.csum16);
        update_checksum_with_payload(hdr.udp.isValid() && hdr.udp.checksum != 0,
            { hdr.ipv4.src, hdr.ipv4.dst, 8w0, hdr.ipv4.protocol, meta.payload_length,
              hdr.udp.src, hdr.udp.dst, hdr.udp.length }, hdr.udp.checksum, HashAlgorithm.csum16);
    }
}

control FeatureDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

V1Switch(FeatureParser(), FeatureVerify(), FeatureIngress(), FeatureEgress(), FeatureCompute(),
         FeatureDeparser()) main;
