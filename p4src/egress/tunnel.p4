// SPDX-License-Identifier: Apache-2.0
// Pushes the tunnel header, or rewrites the one in transit. Everything was decided in ingress.

#define PUSH_TAG(frame) \
    frame.access_tag.setValid(); \
    frame.access_tag.pcp = 0; \
    frame.access_tag.dei = 0; \
    frame.access_tag.vid = meta.egress_vid; \
    frame.access_tag.type = frame.ethernet.type; \
    frame.ethernet.type = ETHERTYPE_VLAN;

control TunnelPush(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (meta.transit == 1) {
            hdr.first.ethernet.src = meta.link_src;
            hdr.first.ethernet.dst = meta.link_dst;
            hdr.first.ipv4.ttl = meta.ttl;
        } else if (meta.encapsulate == 1) {
            hdr.tunnel.ethernet.setValid();
            hdr.tunnel.ethernet.dst = meta.link_dst;
            hdr.tunnel.ethernet.src = meta.link_src;
            hdr.tunnel.ethernet.type = ETHERTYPE_IPV4;
            hdr.tunnel.ipv4.setValid();
            hdr.tunnel.ipv4.version = 4;
            hdr.tunnel.ipv4.ihl = 5;
            hdr.tunnel.ipv4.dscp = meta.dscp;
            hdr.tunnel.ipv4.ecn = meta.lookup.ip_ecn;  // RFC 6040 4.1, normal mode
            hdr.tunnel.ipv4.total_length = meta.frame_bytes + IPV4_BYTES + GRE_KEYED_BYTES;
            hdr.tunnel.ipv4.identification = 1w1 ++ meta.trace ++ 2w0 ++ meta.path_class;
            hdr.tunnel.ipv4.reserved = 0;
            hdr.tunnel.ipv4.dont_fragment = 1;
            hdr.tunnel.ipv4.more_fragments = 0;
            hdr.tunnel.ipv4.fragment_offset = 0;
            hdr.tunnel.ipv4.ttl = meta.ttl;
            hdr.tunnel.ipv4.protocol = PROTO_GRE;
            hdr.tunnel.ipv4.src = meta.tunnel_src;
            hdr.tunnel.ipv4.dst = meta.tunnel_dst;
            hdr.tunnel.gre.setValid();
            hdr.tunnel.gre.checksum_present = 0;
            hdr.tunnel.gre.routing_present = 0;
            hdr.tunnel.gre.key_present = 1;
            hdr.tunnel.gre.sequence_present = 0;
            hdr.tunnel.gre.reserved = 0;
            hdr.tunnel.gre.version = 0;
            hdr.tunnel.gre.protocol = ETHERTYPE_TEB;
            hdr.tunnel.gre_key.setValid();
            hdr.tunnel.gre_key.key = meta.gre_key;
        }
    }
}

// An endpoint that is told apart by VLAN gets its tag back.
control AccessTagPush(inout headers_t hdr, inout metadata_t meta) {
    apply {
        if (meta.egress_vid != 0 && meta.encapsulate == 0 && meta.transit == 0) {
            if (hdr.first.ethernet.isValid()) {
                PUSH_TAG(hdr.first)
            } else if (hdr.second.ethernet.isValid()) {
                PUSH_TAG(hdr.second)
            }
        }
    }
}
