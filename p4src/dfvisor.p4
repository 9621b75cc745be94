// SPDX-License-Identifier: Apache-2.0
// DFVisor's switch: table of contents. One program serves access, core and combined switches; the
// tables decide the role. The agent of the switch writes every table except `flow`, `slice_path` and
// `slice_forward`, which slice controllers write through the slicer.
#include <core.p4>
#include <v1model.p4>

#include "constants.p4"
#include "ids.p4"
#include "headers.p4"
#include "metadata.p4"
#include "parser.p4"
#include "checksum.p4"
#include "drops.p4"

#include "ingress/source.p4"
#include "ingress/lookup.p4"
#include "ingress/access.p4"
#include "ingress/neighbour.p4"
#include "ingress/classify.p4"
#include "ingress/fabric.p4"
#include "ingress/slice_policy.p4"
#include "ingress/flow.p4"
#include "ingress/metering.p4"
#include "ingress/bridge.p4"
#include "ingress/next_hop.p4"
#include "ingress/punt.p4"
#include "egress/replica.p4"
#include "egress/tunnel.p4"
#include "egress/trace.p4"

control DfIngress(inout headers_t hdr, inout metadata_t meta,
                  inout standard_metadata_t standard_metadata) {
    Source() source;
    LookupFields() lookup_first;
    LookupFields() lookup_second;
    Access() access;
    Neighbour() neighbour;
    Classify() classify;
    FabricIn() fabric_in;
    L3Endpoint() l3_endpoint;
    SlicePolicy() slice_policy;
    FlowMatch() flow_match;
    Metering() metering;
    SliceForward() slice_forward;
    Bridge() bridge;
    NextHop() next_hop;
    Punt() punt;

// Nothing was decided yet: not dropped, not punted, not answered.
#define UNDECIDED (meta.drop_reason == DropReason.NONE && meta.punt_reason == PuntReason.NONE \
                   && meta.answered == 0)

    apply {
        mark_to_drop(standard_metadata);
        source.apply(hdr, meta, standard_metadata);

        // Where from, and whose?
        if (meta.role == PortRole.ACCESS) {
            lookup_first.apply(hdr.first, meta.lookup);
            access.apply(hdr, meta);
            if (UNDECIDED) {
                classify.apply(meta);
            }
        }
        if (UNDECIDED && meta.role != PortRole.NONE && hdr.first.ethernet.isValid()) {
            neighbour.apply(hdr, meta, standard_metadata);
        }
        if (UNDECIDED && meta.role == PortRole.FABRIC) {
            fabric_in.apply(hdr, meta, standard_metadata);
            if (UNDECIDED) {
                lookup_second.apply(hdr.second, meta.lookup);
                if (meta.transit == 0 && !hdr.second.ethernet.isValid()) {
                    l3_endpoint.apply(hdr, meta);
                }
            }
        }

        // What may it do, and where to?
        if (UNDECIDED && meta.role != PortRole.NONE && meta.transit == 0) {
            slice_policy.apply(meta);
            if (meta.qos_level != BEST_EFFORT) {
                flow_match.apply(meta);
            }
            if (UNDECIDED && meta.role == PortRole.ACCESS) {
                metering.apply(meta);
            }
            if (UNDECIDED) {
                if (meta.qos_level != BEST_EFFORT) {
                    slice_forward.apply(meta);
                } else {
                    bridge.apply(meta, standard_metadata);
                }
            }
        }
        if (UNDECIDED && meta.role != PortRole.NONE && meta.flooded == 0) {
            next_hop.apply(hdr, meta, standard_metadata);
        }
        if (meta.punt_reason != PuntReason.NONE) {
            punt.apply(meta, standard_metadata);
        }

        // How does it leave?
        hdr.packet_out.setInvalid();
        if (meta.drop_reason != DropReason.NONE) {
            mark_to_drop(standard_metadata);
            COUNT_DROP(meta);
        } else {
            standard_metadata.priority = meta.queue;
            if (meta.role == PortRole.FABRIC && meta.transit == 0 && hdr.gre_key.isValid()
                    && hdr.second.ethernet.isValid()) {
                // Decapsulation: what is left is the tenant's frame, as its host sent it.
                hdr.first.ethernet.setInvalid();
                hdr.first.ipv4.setInvalid();
                hdr.gre.setInvalid();
                hdr.gre_checksum.setInvalid();
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
    AccessTagPush() access_tag_push;
    PacketIn() to_agent;
    Trace() trace;

    apply {
        if (standard_metadata.instance_type == INSTANCE_EGRESS_CLONE) {
            meta.punt_reason = PuntReason.TRACE;
            to_agent.apply(hdr, meta);
        } else if (standard_metadata.egress_port == CPU_PORT) {
            to_agent.apply(hdr, meta);
        } else {
            if (standard_metadata.egress_rid != 0) {
                replica.apply(meta, standard_metadata);
            }
            if (meta.drop_reason == DropReason.NONE) {
                if (meta.flooded == 1 && meta.encapsulate == 0
                        && standard_metadata.egress_port == meta.ingress_port
                        && meta.egress_vid == meta.ingress_vid) {
                    mark_to_drop(standard_metadata);  // split horizon: not back where it came from
                } else {
                    tunnel_push.apply(hdr, meta);
                    access_tag_push.apply(hdr, meta);
                    trace.apply(meta, standard_metadata);
                }
            }
        }
    }
}

@pkginfo(name = "dfvisor.p4", version = "0.3.1")
V1Switch(DfParser(), DfVerifyChecksum(), DfIngress(), DfEgress(), DfComputeChecksum(),
         DfDeparser()) main;
