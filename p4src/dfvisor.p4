// SPDX-License-Identifier: Apache-2.0
// DFVisor's switch: table of contents. One program serves access, core and combined switches; the
// tables decide the role. The agent of the switch writes every table except `flow` and
// `slice_forward`, which slice controllers write through the slicer.
#include <core.p4>
#include <v1model.p4>

#include "constants.p4"
#include "ids.p4"
#include "headers.p4"
#include "metadata.p4"
#include "parser.p4"
#include "checksum.p4"

#include "ingress/lookup.p4"
#include "ingress/access.p4"
#include "ingress/fabric.p4"
#include "ingress/slice_policy.p4"
#include "ingress/flow.p4"
#include "ingress/bridge.p4"
#include "ingress/next_hop.p4"
#include "egress/replica.p4"
#include "egress/tunnel.p4"

control DfIngress(inout headers_t hdr, inout metadata_t meta,
                  inout standard_metadata_t standard_metadata) {
    // One cell per slice id and drop reason; slice id 0 where no slice was known.
    @id(COUNTER_DROPS) @name("drops")
    counter(DROP_CELLS, CounterType.packets) drops;

    IngressPort() ingress_port;
    LookupFields() lookup_first;
    LookupFields() lookup_second;
    Classify() classify;
    FabricIn() fabric_in;
    SlicePolicy() slice_policy;
    FlowMatch() flow_match;
    SliceForward() slice_forward;
    Bridge() bridge;
    NextHop() next_hop;

    apply {
        mark_to_drop(standard_metadata);
        meta.drop_reason = DropReason.UNKNOWN_PORT;
        ingress_port.apply(meta, standard_metadata);

        if (meta.role == PortRole.ACCESS) {
            lookup_first.apply(hdr.first, meta.lookup);
            classify.apply(meta, standard_metadata);
        } else if (meta.role == PortRole.FABRIC) {
            fabric_in.apply(hdr, meta, standard_metadata);
            if (meta.drop_reason == DropReason.NONE && meta.transit == 0) {
                lookup_second.apply(hdr.second, meta.lookup);
            }
        }

        if (meta.drop_reason == DropReason.NONE && meta.transit == 0) {
            slice_policy.apply(meta);
            if (meta.qos_level != BEST_EFFORT) {
                flow_match.apply(meta);
            }
            if (meta.drop_reason == DropReason.NONE) {
                if (meta.qos_level != BEST_EFFORT) {
                    slice_forward.apply(meta);
                } else {
                    bridge.apply(meta, standard_metadata);
                }
            }
        }
        if (meta.drop_reason == DropReason.NONE && meta.flooded == 0) {
            next_hop.apply(hdr, meta, standard_metadata);
        }

        if (meta.drop_reason != DropReason.NONE) {
            mark_to_drop(standard_metadata);
            drops.count(((bit<32>)meta.slice_id << DROP_REASON_BITS) | (bit<32>)(bit<5>)meta.drop_reason);
        } else {
            standard_metadata.priority = meta.queue;
            if (meta.role == PortRole.FABRIC && meta.transit == 0) {
                // Decapsulation: what is left is the tenant's frame, as its host sent it.
                hdr.first.ethernet.setInvalid();
                hdr.first.vlan_outer.setInvalid();
                hdr.first.vlan_inner.setInvalid();
                hdr.first.ipv4.setInvalid();
                hdr.first.ipv4_options.setInvalid();
                hdr.gre.setInvalid();
                hdr.gre_key.setInvalid();
                hdr.gre_sequence.setInvalid();
            }
        }
    }
}

control DfEgress(inout headers_t hdr, inout metadata_t meta,
                 inout standard_metadata_t standard_metadata) {
    Replica() replica;
    TunnelPush() tunnel_push;

    apply {
        if (standard_metadata.egress_rid != 0) {
            replica.apply(meta, standard_metadata);
        }
        if (meta.flooded == 1 && meta.encapsulate == 0
                && standard_metadata.egress_port == standard_metadata.ingress_port) {
            mark_to_drop(standard_metadata);  // split horizon: not back where it came from
        } else {
            tunnel_push.apply(hdr, meta);
        }
    }
}

@pkginfo(name = "dfvisor.p4", version = "0.1.0")
V1Switch(DfParser(), DfVerifyChecksum(), DfIngress(), DfEgress(), DfComputeChecksum(),
         DfDeparser()) main;
