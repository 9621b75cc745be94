// SPDX-License-Identifier: Apache-2.0
#ifndef DFVISOR_METADATA_P4_
#define DFVISOR_METADATA_P4_

// The tenant frame's header fields, from whichever stack it stands in. A header that is absent, and
// the L4 fields of a later fragment, are zero. For ARP, the IPv4 fields are the sender's and the
// target's protocol address (as in OpenFlow 1.0).
struct lookup_t {
    mac_t eth_src;
    mac_t eth_dst;
    bit<16> eth_type;  // behind the VLAN tags
    bit<13> vlan_tci;  // outer tag: 0x1000 | VID; 0 = untagged (as OpenFlow's OXM_OF_VLAN_VID)
    ipv4_t ipv4_src;
    ipv4_t ipv4_dst;
    bit<128> ipv6_src;
    bit<128> ipv6_dst;
    bit<8> ip_proto;   // IPv6: behind the extension headers
    bit<6> ip_dscp;
    bit<2> ip_ecn;
    bit<1> is_fragment; // a later fragment
    bit<16> l4_src;
    bit<16> l4_dst;
    bit<8> tcp_flags;
    bit<32> hash_ports; // both L4 ports, but 0 on every fragment: all take one path
}

// What a trace clone keeps (v1model zeroes all other metadata): what packet_in_t reports, and what
// says which checksums to compute.
#define TRACE_FIELDS 1

struct metadata_t {
    PortRole role;
    DropReason drop_reason;
    PuntReason punt_reason;
    @field_list(TRACE_FIELDS)
    bit<1> transit;      // tunnelled, and the tunnel does not end here
    @field_list(TRACE_FIELDS)
    bit<1> answered;     // turned into an ARP or neighbour discovery reply
    bit<1> flooded;      // handed to a multicast group
    bit<1> encapsulate;  // egress pushes a tunnel header
    bit<1> route;        // the underlay table picks the fabric port
    bit<1> routed;       // the chosen member of an ECMP group has acted
    bit<1> demoted;
    bit<1> stamped;      // another of our switches has decided the path class
    bit<1> trace;
    bit<1> guarded;      // source_guard must know the sender
    bit<1> learning;     // unknown senders are reported
    @field_list(TRACE_FIELDS)
    port_t ingress_port; // or the one that a packet-out names
    @field_list(TRACE_FIELDS)
    vn_id_t vn;
    @field_list(TRACE_FIELDS)
    slice_id_t slice_id;
    slice_id_t best_effort_slice;
    bit<32> gre_key;             // to write on the wire
    bit<32> best_effort_key;
    bit<8> qos_level;
    bit<8> received_qos_level;   // before a demotion here
    MissPolicy miss_policy;
    meter_id_t flow_meter;
    color_t color;
    queue_t queue;
    bit<6> dscp;
    bit<6> dscp_yellow;          // of packets beyond their committed rate
    path_class_t path_class;
    next_hop_id_t next_hop;
    vid_t ingress_vid;           // tells the sender apart on its port; 0 = nothing needs to
    vid_t egress_vid;            // pushed towards an access port; 0 = none
    @field_list(TRACE_FIELDS)
    cookie_t cookie;             // of the entry that acted last
    bit<8> ttl;                  // of the outer header to send
    ipv4_t tunnel_src;
    ipv4_t tunnel_dst;
    mac_t link_src;
    mac_t link_dst;
    bit<16> mtu;                 // of the link to send over, bytes behind its Ethernet header
    bit<16> hash_seed;           // differs between switches, so that ECMP does not polarise
    bit<32> hash_mix;            // of fields and seed
    bit<16> frame_bytes;         // of the tenant's frame
    @field_list(TRACE_FIELDS)
    bit<48> ingress_time;
    @field_list(TRACE_FIELDS)
    bit<48> egress_time;
    @field_list(TRACE_FIELDS)
    bit<24> queue_depth;
    @field_list(TRACE_FIELDS)
    bit<16> traced_port;
    lookup_t lookup;
}

#endif
