// SPDX-License-Identifier: Apache-2.0
// Copies the tenant frame's fields into the lookup metadata. All of it starts at zero.
control LookupFields(inout frame_t frame, inout lookup_t lookup) {
    apply {
        if (frame.ethernet.isValid()) {
            lookup.eth_src = frame.ethernet.src;
            lookup.eth_dst = frame.ethernet.dst;
            lookup.eth_type = frame.ethernet.type;
        }
        if (frame.vlan_1.isValid()) {
            lookup.vlan_tci = 1w1 ++ frame.vlan_1.vid;
            lookup.eth_type = frame.vlan_1.type;
        } else if (frame.vlan_2.isValid()) {  // the first tag was the access port's
            lookup.vlan_tci = 1w1 ++ frame.vlan_2.vid;
        }
        if (frame.vlan_2.isValid()) {
            lookup.eth_type = frame.vlan_2.type;
        }
        if (frame.vlan_3.isValid()) {
            lookup.eth_type = frame.vlan_3.type;
        }

        if (frame.ipv4.isValid()) {
            lookup.ipv4_src = frame.ipv4.src;
            lookup.ipv4_dst = frame.ipv4.dst;
            lookup.ip_proto = frame.ipv4.protocol;
            lookup.ip_dscp = frame.ipv4.dscp;
            lookup.ip_ecn = frame.ipv4.ecn;
            if (frame.ipv4.fragment_offset != 0) {
                lookup.is_fragment = 1;
            }
        } else if (frame.ipv6.isValid()) {
            lookup.ipv6_src = frame.ipv6.src;
            lookup.ipv6_dst = frame.ipv6.dst;
            lookup.ip_proto = frame.ipv6.next_header;
            lookup.ip_dscp = frame.ipv6.dscp;
            lookup.ip_ecn = frame.ipv6.ecn;
            if (frame.extension_1.isValid()) {
                lookup.ip_proto = frame.extension_1.next_header;
            }
            if (frame.extension_2.isValid()) {
                lookup.ip_proto = frame.extension_2.next_header;
            }
            if (frame.fragment.isValid()) {
                lookup.ip_proto = frame.fragment.next_header;
                if (frame.fragment.offset != 0) {
                    lookup.is_fragment = 1;
                }
            }
        } else if (frame.arp.isValid()) {
            lookup.ipv4_src = frame.arp.sender_ip;
            lookup.ipv4_dst = frame.arp.target_ip;
        }

        if (frame.l4.isValid()) {
            lookup.l4_src = frame.l4.src;
            lookup.l4_dst = frame.l4.dst;
            if (!frame.fragment.isValid()
                    && !(frame.ipv4.isValid() && frame.ipv4.more_fragments == 1)) {
                lookup.hash_ports = frame.l4.src ++ frame.l4.dst;
            }
        }
        if (frame.tcp.isValid()) {
            lookup.tcp_flags = frame.tcp.flags;
        }
    }
}
