// SPDX-License-Identifier: Apache-2.0
// What the agent gets: punted packets, and a copy of each traced packet as it leaves this hop.

control PacketIn(inout headers_t hdr, inout metadata_t meta) {
    apply {
        hdr.packet_in.setValid();
        hdr.packet_in.port = meta.ingress_port;
        hdr.packet_in.reserved = 0;
        hdr.packet_in.vn = meta.vn;
        hdr.packet_in.slice_id = meta.slice_id;
        hdr.packet_in.reason = meta.punt_reason;
        hdr.packet_in.cookie = meta.cookie;
        hdr.packet_in.egress_port = meta.traced_port;
        hdr.packet_in.ingress_time = meta.ingress_time;
        hdr.packet_in.egress_time = meta.egress_time;
        hdr.packet_in.queue_depth = meta.queue_depth;
    }
}

control Trace(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    apply {
        if (meta.trace == 1) {
            meta.ingress_time = standard_metadata.ingress_global_timestamp;
            meta.egress_time = standard_metadata.egress_global_timestamp;
            meta.queue_depth = (bit<24>)standard_metadata.enq_qdepth;
            meta.traced_port = (bit<16>)standard_metadata.egress_port;
            clone_preserving_field_list(CloneType.E2E, TRACE_SESSION, TRACE_FIELDS);
        }
    }
}
