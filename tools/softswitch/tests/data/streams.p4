// SPDX-License-Identifier: Apache-2.0
// A program for the tests of the P4Runtime server: what a controller shares with the data plane
// beyond entries and counters. The JSON and P4Info beside it are made, in this directory, by
//   p4c-bm2-ss --arch v1model --p4runtime-files streams.p4info.txtpb -o streams.json streams.p4
#include <core.p4>
#include <v1model.p4>

const bit<9> CPU_PORT = 510;
const bit<16> CLONED = 0x88b6; // EtherTypes of frames that are treated specially
const bit<16> PUNTED = 0x88b7;
const bit<16> METERED = 0x88b8;

@controller_header("packet_out")
header packet_out_t {
    bit<9> port;
    bit<1> flag;
    @padding bit<6> reserved;
}

@controller_header("packet_in")
header packet_in_t {
    bit<9> port;
    bit<7> reason;
    bit<32> cookie;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    ethernet_t ethernet;
}

struct metadata_t {
    @field_list(1)
    bit<9> ingress_port;
    bit<2> color;
    bit<48> hashed_mac; // selectors hash metadata only
    bit<16> hashed_type;
}

struct learn_t {
    bit<9> port;
    bit<48> mac;
}

parser StreamsParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                     inout standard_metadata_t standard_metadata) {
    state start {
        meta.ingress_port = standard_metadata.ingress_port;
        transition select(standard_metadata.ingress_port) {
            CPU_PORT: from_controller;
            default: ethernet;
        }
    }
    state from_controller {
        packet.extract(hdr.packet_out);
        transition ethernet;
    }
    state ethernet {
        packet.extract(hdr.ethernet);
        meta.hashed_mac = hdr.ethernet.src;
        meta.hashed_type = hdr.ethernet.type;
        transition accept;
    }
}

control StreamsIngress(inout headers_t hdr, inout metadata_t meta,
                       inout standard_metadata_t standard_metadata) {
    @name("byte_rates") meter(16, MeterType.bytes) byte_rates;
    @name("packet_rates") meter(8, MeterType.packets) packet_rates;
    @name("hosts_counter") direct_counter(CounterType.packets_and_bytes) hosts_counter;
    @name("ecmp") action_selector(HashAlgorithm.crc16, 64, 16) ecmp;

    action pass() { }
    @name("send_to") action send_to(bit<9> port) {
        standard_metadata.egress_spec = port;
    }

    @name("hosts") table hosts {
        key = { hdr.ethernet.src: exact @name("mac"); }
        actions = { pass; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = hosts_counter;
        support_timeout = true;
        size = 64;
    }
    @name("routes") table routes {
        key = {
            hdr.ethernet.dst: exact @name("mac");
            meta.hashed_mac: selector;
            meta.hashed_type: selector;
        }
        actions = { send_to; @defaultonly NoAction; }
        implementation = ecmp;
        size = 64;
    }

    apply {
        mark_to_drop(standard_metadata);
        if (hdr.packet_out.isValid()) {
            standard_metadata.egress_spec = hdr.packet_out.port;
            hdr.packet_out.setInvalid();
        } else if (hdr.ethernet.isValid()) {
            if (!hosts.apply().hit) {
                digest<learn_t>(1, { standard_metadata.ingress_port, hdr.ethernet.src });
            }
            routes.apply();
            if (hdr.ethernet.type == PUNTED) {
                standard_metadata.egress_spec = CPU_PORT;
            }
            if (hdr.ethernet.type == METERED) {
                packet_rates.execute_meter((bit<32>)hdr.ethernet.src[2:0], meta.color);
                byte_rates.execute_meter((bit<32>)hdr.ethernet.src[3:0], meta.color);
                if (meta.color == 2) {
                    mark_to_drop(standard_metadata);
                }
            }
        }
    }
}

control StreamsEgress(inout headers_t hdr, inout metadata_t meta,
                      inout standard_metadata_t standard_metadata) {
    apply {
        if (standard_metadata.egress_port == CPU_PORT) {
            hdr.packet_in.setValid();
            hdr.packet_in.port = meta.ingress_port;
            hdr.packet_in.reason = (bit<7>)standard_metadata.instance_type;
            hdr.packet_in.cookie = 0x1234;
        } else if (hdr.ethernet.type == CLONED) {
            clone_preserving_field_list(CloneType.E2E, 5, 1);
        }
    }
}

control StreamsVerify(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control StreamsCompute(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control StreamsDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
    }
}

V1Switch(StreamsParser(), StreamsVerify(), StreamsIngress(), StreamsEgress(), StreamsCompute(),
         StreamsDeparser()) main;
