// SPDX-License-Identifier: Apache-2.0
// A program for the tests of the P4Runtime server: one table per rule that the server checks.
// The JSON and P4Info beside it are made, in this directory, by
//   p4c-bm2-ss --arch v1model --p4runtime-files contract.p4info.txtpb -o contract.json contract.p4
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header probe_t {
    bit<32> address;
    bit<12> label;
    bit<4>  flags;
}

struct headers_t {
    ethernet_t ethernet;
    probe_t    probe;
}

struct metadata_t {
    bit<12> label;
}

parser ContractParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                      inout standard_metadata_t standard_metadata) {
    state start {
        meta.label = 0;
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x88b5: probe;
            default: accept;
        }
    }
    state probe {
        packet.extract(hdr.probe);
        transition accept;
    }
}

control ContractIngress(inout headers_t hdr, inout metadata_t meta,
                        inout standard_metadata_t standard_metadata) {
    @name("cells") counter(16, CounterType.packets_and_bytes) cells;
    @name("exact_counter") direct_counter(CounterType.packets_and_bytes) exact_counter;
    @name("acl_counter") direct_counter(CounterType.packets_and_bytes) acl_counter;

    action forward(bit<9> port) {
        standard_metadata.egress_spec = port;
    }
    action flood(bit<16> group) {
        standard_metadata.mcast_grp = group;
    }
    action drop() {
        mark_to_drop(standard_metadata);
    }
    action label(bit<12> value, bit<32> index) {
        meta.label = value;
        cells.count(index);
    }

    table exact_table {
        key = {
            hdr.ethernet.dst: exact @name("dst");
            standard_metadata.ingress_port: exact @name("port");
        }
        actions = { forward; flood; drop; @tableonly label; @defaultonly NoAction; }
        default_action = drop();
        counters = exact_counter;
        size = 64;
    }
    table lpm_table {
        key = { hdr.probe.address: lpm @name("address"); }
        actions = { forward; label; @defaultonly NoAction; }
        default_action = NoAction();
        size = 4;
    }
    table acl_table {
        key = {
            hdr.probe.label: exact @name("label");
            hdr.ethernet.src: ternary @name("src");
            hdr.probe.address: ternary @name("address");
        }
        actions = { label; drop; NoAction; }
        default_action = label(7, 1);
        counters = acl_counter;
        size = 1024;
    }
    table const_table {
        key = { hdr.probe.flags: ternary @name("flags"); }
        actions = { label; drop; @defaultonly NoAction; }
        const default_action = NoAction();
        const entries = {
            0x1 &&& 0x1: label(1, 2);
            0x2 &&& 0x2: drop();
        }
    }
    table keyless_table {
        actions = { label; NoAction; }
        default_action = NoAction();
    }

    apply {
        exact_table.apply();
        if (hdr.probe.isValid()) {
            lpm_table.apply();
            acl_table.apply();
            const_table.apply();
        }
        keyless_table.apply();
    }
}

control ContractEgress(inout headers_t hdr, inout metadata_t meta,
                       inout standard_metadata_t standard_metadata) {
    apply { }
}

control ContractVerify(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control ContractCompute(inout headers_t hdr, inout metadata_t meta) {
    apply { }
}

control ContractDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.ethernet);
        packet.emit(hdr.probe);
    }
}

V1Switch(ContractParser(), ContractVerify(), ContractIngress(), ContractEgress(),
         ContractCompute(), ContractDeparser()) main;
