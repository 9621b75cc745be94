// SPDX-License-Identifier: Apache-2.0
// What features.p4 lacks: action selectors, meters, clones of egress packets, digests, checksums over the payload,
// fields set from a lookahead. It means nothing as a switch; see features.p4 about the files beside it.
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

// The checksum covers everything behind the Ethernet header but itself.
header checked_t {
    bit<8> size;
    bit<16> checksum;
    varbit<120> options;
    bit<8> last;
}

header report_t {
    bit<8> instance;
    bit<8> hops;
    bit<8> kept;
    bit<8> lost;
    bit<2> bytes_color;
    bit<2> packets_color;
    bit<1> bad_checksum;
    bit<1> too_short;
    bit<2> pad;
    bit<16> stamp;
    bit<16> egress_port;
    bit<16> rid;
    bit<16> packet_length;
    bit<32> first;
}

struct headers_t {
    report_t copied;
    report_t report;
    ethernet_t ethernet;
    checked_t checked;
}

struct metadata_t {
    @field_list(1)
    bit<8> kept;
    bit<8> lost;
    bit<2> bytes_color;
    bit<2> packets_color;
    bit<16> stamp;
    bit<32> first;
    // what the selector hashes; no part but the first starts at a byte
    bit<3> odd;
    bit<48> mac;
    bit<128> wide;
    bit<16> type;
    bit<16> session;
}

struct learned_t {
    bit<48> mac;
    bit<9> port;
    bit<3> odd;
}

parser ExtraParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                   inout standard_metadata_t standard_metadata) {
    state start {
        packet.extract(hdr.ethernet);
        meta.mac = hdr.ethernet.src;
        meta.type = hdr.ethernet.type;
        meta.odd = hdr.ethernet.dst[2:0];
        meta.wide = hdr.ethernet.src ++ hdr.ethernet.dst ++ 32w0xdeadbeef;
        meta.kept = hdr.ethernet.dst[15:8];
        meta.lost = 0x77;
        transition select(hdr.ethernet.type) {
            0x0900: checked;
            0x0901: peek;
            default: accept;
        }
    }
    state checked {
        bit<8> size = packet.lookahead<bit<8>>();
        packet.extract(hdr.checked, (bit<32>)(size & 15) << 3);
        transition accept;
    }
    state peek {
        meta.first = packet.lookahead<bit<32>>();
        transition accept;
    }
}

control ExtraVerify(inout headers_t hdr, inout metadata_t meta) {
    apply {
        verify_checksum_with_payload(hdr.checked.isValid(),
            { hdr.checked.size, hdr.checked.options, hdr.checked.last }, hdr.checked.checksum,
            HashAlgorithm.csum16);
    }
}

control ExtraIngress(inout headers_t hdr, inout metadata_t meta,
                     inout standard_metadata_t standard_metadata) {
    action_selector(HashAlgorithm.crc16, 64, 16) choice;
    meter(16, MeterType.bytes) by_bytes;
    meter(16, MeterType.packets) by_packets;

    action to(bit<9> port, bit<16> stamp) {
        standard_metadata.egress_spec = port;
        meta.stamp = stamp;
    }
    action nowhere() {
        mark_to_drop(standard_metadata);
    }
    table spread {
        key = {
            hdr.ethernet.type: lpm;
            meta.odd: selector;
            meta.mac: selector;
            meta.wide: selector;
            meta.type: selector;
        }
        actions = { to; nowhere; NoAction; }
        implementation = choice;
    }
    apply {
        // fields of headers that are not there mean nothing
        if (!hdr.ethernet.isValid()) {
            standard_metadata.egress_spec = 8;
            return;
        }
        if (!spread.apply().hit) {
            standard_metadata.egress_spec = 8;
        }
        by_bytes.execute_meter((bit<32>)hdr.ethernet.type[3:0], meta.bytes_color);
        by_packets.execute_meter((bit<32>)hdr.ethernet.dst[3:0], meta.packets_color);
        if (hdr.ethernet.dst[4:4] == 1) {
            digest<learned_t>(1, { hdr.ethernet.src, standard_metadata.ingress_port, meta.odd });
        }
    }
}

control ExtraEgress(inout headers_t hdr, inout metadata_t meta,
                    inout standard_metadata_t standard_metadata) {
    action copy(bit<16> session) {
        clone_preserving_field_list(CloneType.E2E, (bit<32>)session, 1);
    }
    // by the last byte but one of the destination: which session, for originals and for copies
    table copies {
        key = {
            meta.kept: exact;
            standard_metadata.instance_type: exact;
        }
        actions = { copy; NoAction; }
        default_action = NoAction();
    }
    apply {
        if (standard_metadata.instance_type == 2) {
            hdr.copied = hdr.report;
            hdr.copied.hops = hdr.copied.hops + 1;
        }
        hdr.report.setValid();
        hdr.report.instance = (bit<8>)standard_metadata.instance_type;
        hdr.report.hops = hdr.copied.isValid() ? hdr.copied.hops : 0;
        hdr.report.kept = meta.kept;
        hdr.report.lost = meta.lost;
        hdr.report.bytes_color = meta.bytes_color;
        hdr.report.packets_color = meta.packets_color;
        hdr.report.bad_checksum = standard_metadata.checksum_error;
        hdr.report.too_short = standard_metadata.parser_error == error.PacketTooShort ? 1w1 : 0;
        hdr.report.stamp = meta.stamp;
        hdr.report.egress_port = (bit<16>)standard_metadata.egress_port;
        hdr.report.rid = standard_metadata.egress_rid;
        hdr.report.packet_length = (bit<16>)standard_metadata.packet_length;
        hdr.report.first = meta.first;
        if (hdr.report.hops < 2) {
            copies.apply();
        }
        // after the copy was asked for: it is taken at the end of egress
        if (hdr.ethernet.isValid()) {
            hdr.ethernet.src = hdr.ethernet.src ^ 0xff;
        }
        if (meta.kept == 3 && standard_metadata.instance_type != 2) {
            mark_to_drop(standard_metadata);
        }
    }
}

control ExtraCompute(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control ExtraDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

V1Switch(ExtraParser(), ExtraVerify(), ExtraIngress(), ExtraEgress(), ExtraCompute(), ExtraDeparser()) main;
