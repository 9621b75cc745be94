// SPDX-License-Identifier: Apache-2.0
#ifndef DFVISOR_HEADERS_P4_
#define DFVISOR_HEADERS_P4_

header ethernet_t {
    mac_t dst;
    mac_t src;
    bit<16> type;
}

// Packet-out: out of `port`, or with `as_ingress` as if it had been received there.
@controller_header("packet_out")
header packet_out_t {
    @id(1) port_t port;
    @id(2) bit<1> as_ingress;
    @id(3) bit<1> trace;      // with as_ingress: ask every hop for a trace
    @id(4) bit<5> reserved;
}

// Packet-in: what was received where, and why it is here. Times in microseconds, queue depth in
// packets; they are for reason TRACE and otherwise zero.
@controller_header("packet_in")
header packet_in_t {
    @id(1) port_t port;
    @id(2) bit<7> reserved;
    @id(3) vn_id_t vn;
    @id(4) slice_id_t slice_id;
    @id(5) PuntReason reason;
    @id(6) cookie_t cookie;
    @id(7) bit<16> egress_port;
    @id(8) bit<48> ingress_time;
    @id(9) bit<48> egress_time;
    @id(10) bit<24> queue_depth;
}

header vlan_t {
    bit<3> pcp;
    bit<1> dei;
    bit<12> vid;
    bit<16> type;
}

header ipv4_header_t {
    bit<4> version;
    bit<4> ihl;
    bit<6> dscp;
    bit<2> ecn;
    bit<16> total_length;
    bit<16> identification;
    bit<1> reserved;
    bit<1> dont_fragment;
    bit<1> more_fragments;
    bit<13> fragment_offset;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    ipv4_t src;
    ipv4_t dst;
}

header ipv4_options_t {
    varbit<320> data;
}

header ipv6_t {
    bit<4> version;
    bit<6> dscp;
    bit<2> ecn;
    bit<20> flow_label;
    bit<16> payload_length;
    bit<8> next_header;
    bit<8> hop_limit;
    bit<128> src;
    bit<128> dst;
}

// Any extension header but the fragment header: length in 8 bytes beyond the first 8 (RFC 8200).
header ipv6_extension_t {
    bit<8> next_header;
    bit<8> length;
    varbit<496> data; // 6 + 8 * 7 bytes
}

header ipv6_fragment_t {
    bit<8> next_header;
    bit<8> reserved;
    bit<13> offset;
    bit<2> reserved2;
    bit<1> more;
    bit<32> identification;
}

// ARP for IPv4 over Ethernet.
header arp_t {
    bit<16> hardware_type;
    bit<16> protocol_type;
    bit<8> hardware_length;
    bit<8> protocol_length;
    bit<16> operation;
    mac_t sender_mac;
    ipv4_t sender_ip;
    mac_t target_mac;
    ipv4_t target_ip;
}

// Source and destination port are common to TCP, UDP and SCTP; TCP's flags lie further on.
header l4_ports_t {
    bit<16> src;
    bit<16> dst;
}

header tcp_rest_t {
    bit<32> sequence;
    bit<32> acknowledgement;
    bit<4> data_offset;
    bit<4> reserved;
    bit<8> flags;
}

// A neighbour solicitation or advertisement with exactly one link-layer address option.
header nd_t {
    bit<8> type;
    bit<8> code;
    bit<16> checksum;
    bit<32> flags;
    bit<128> target;
    bit<8> option_type;
    bit<8> option_length;
    mac_t option_mac;
}

// RFC 2784 and RFC 2890.
header gre_t {
    bit<1> checksum_present;
    bit<1> routing_present;
    bit<1> key_present;
    bit<1> sequence_present;
    bit<9> reserved;
    bit<3> version;
    bit<16> protocol;
}

header gre_checksum_t {
    bit<16> checksum;
    bit<16> reserved;
}

header gre_key_t {
    bit<32> key;
}

header gre_sequence_t {
    bit<32> sequence;
}

// One frame as far as it is parsed. access_tag is never parsed: it is pushed on the way to an access
// port whose endpoint is told apart by VLAN.
struct frame_t {
    ethernet_t ethernet;
    vlan_t access_tag;
    vlan_t vlan_1;
    vlan_t vlan_2;
    vlan_t vlan_3;
    arp_t arp;
    ipv4_header_t ipv4;
    ipv4_options_t ipv4_options;
    ipv6_t ipv6;
    ipv6_extension_t extension_1;
    ipv6_extension_t extension_2;
    ipv6_fragment_t fragment;
    nd_t nd;
    l4_ports_t l4;
    tcp_rest_t tcp;
}

// The tunnel header that this switch pushes.
struct tunnel_t {
    ethernet_t ethernet;
    ipv4_header_t ipv4;
    gre_t gre;
    gre_key_t gre_key;
}

// first: the frame as received. gre and second: what it carries, if it carries keyed GRE.
struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    tunnel_t tunnel;
    frame_t first;
    gre_t gre;
    gre_checksum_t gre_checksum;
    gre_key_t gre_key;
    gre_sequence_t gre_sequence;
    frame_t second;
}

#endif
