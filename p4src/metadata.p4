// SPDX-License-Identifier: Apache-2.0
#ifndef DFVISOR_METADATA_P4_
#define DFVISOR_METADATA_P4_

// The tenant frame's header fields, from whichever stack it stands in. A header that is absent, and
// the L4 fields of a later fragment, are zero.
struct lookup_t {
    mac_t eth_src;
    mac_t eth_dst;
    bit<16> eth_type;  // behind the VLAN tags
    bit<13> vlan_tci;  // outer tag: 0x1000 | VID; 0 = untagged (as OpenFlow's OXM_OF_VLAN_VID)
    ipv4_t ipv4_src;
    ipv4_t ipv4_dst;
    bit<128> ipv6_src;
    bit<128> ipv6_dst;
    bit<8> ip_proto;
    bit<6> ip_dscp;
    bit<1> is_fragment; // a later fragment
    bit<16> l4_src;
    bit<16> l4_dst;
    bit<8> tcp_flags;
}

struct metadata_t {
    PortRole role;
    DropReason drop_reason;
    bit<1> transit;      // tunnelled, and the tunnel does not end here
    bit<1> flooded;      // handed to a multicast group
    bit<1> encapsulate;  // egress pushes a tunnel header
    bit<1> route;        // the underlay table picks the fabric port
    vn_id_t vn;
    slice_id_t slice_id;
    slice_id_t best_effort_slice;
    bit<32> gre_key;             // to write on the wire
    bit<32> best_effort_key;
    bit<8> qos_level;
    bit<8> received_qos_level;   // before a demotion here
    MissPolicy miss_policy;
    queue_t queue;
    bit<6> dscp;
    path_class_t path_class;
    next_hop_id_t next_hop;
    cookie_t cookie;             // of the entry that acted last
    bit<8> ttl;                  // of the outer header to send
    ipv4_t tunnel_src;
    ipv4_t tunnel_dst;
    mac_t link_src;
    mac_t link_dst;
    bit<16> frame_bytes;         // of the tenant's frame
    lookup_t lookup;
}

#endif
