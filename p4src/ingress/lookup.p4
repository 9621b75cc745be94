// SPDX-License-Identifier: Apache-2.0
// Copies the tenant frame's fields into the lookup metadata. All of it starts at zero.
control LookupFields(inout frame_t frame, inout lookup_t lookup) {
    apply {
        if (frame.ethernet.isValid()) {
            lookup.eth_src = frame.ethernet.src;
            lookup.eth_dst = frame.ethernet.dst;
            lookup.eth_type = frame.ethernet.type;
        }
        if (frame.vlan_outer.isValid()) {
            lookup.vlan_tci = 1w1 ++ frame.vlan_outer.vid;
            lookup.eth_type = frame.vlan_outer.type;
        }
        if (frame.vlan_inner.isValid()) {
            lookup.eth_type = frame.vlan_inner.type;
        }
        if (frame.ipv4.isValid()) {
            lookup.ipv4_src = frame.ipv4.src;
            lookup.ipv4_dst = frame.ipv4.dst;
            lookup.ip_proto = frame.ipv4.protocol;
            lookup.ip_dscp = frame.ipv4.dscp;
            if (frame.ipv4.fragment_offset != 0) {
                lookup.is_fragment = 1;
            }
        } else if (frame.ipv6.isValid()) {
            lookup.ipv6_src = frame.ipv6.src;
            lookup.ipv6_dst = frame.ipv6.dst;
            lookup.ip_proto = frame.ipv6.next_header;
            lookup.ip_dscp = frame.ipv6.dscp;
        }
        if (frame.l4.isValid()) {
            lookup.l4_src = frame.l4.src;
            lookup.l4_dst = frame.l4.dst;
        }
        if (frame.tcp.isValid()) {
            lookup.tcp_flags = frame.tcp.flags;
        }
    }
}
