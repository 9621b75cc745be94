// SPDX-License-Identifier: Apache-2.0
#ifndef DFVISOR_HEADERS_P4_
#define DFVISOR_HEADERS_P4_

header ethernet_t {
    mac_t dst;
    mac_t src;
    bit<16> type;
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

header gre_key_t {
    bit<32> key;
}

header gre_sequence_t {
    bit<32> sequence;
}

// One Ethernet frame as far as it is parsed.
struct frame_t {
    ethernet_t ethernet;
    vlan_t vlan_outer;
    vlan_t vlan_inner;
    ipv4_header_t ipv4;
    ipv4_options_t ipv4_options;
    ipv6_t ipv6;
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
    tunnel_t tunnel;
    frame_t first;
    gre_t gre;
    gre_key_t gre_key;
    gre_sequence_t gre_sequence;
    frame_t second;
}

#endif
