// SPDX-License-Identifier: Apache-2.0
// Widths, well-known numbers and their sources, table sizes.
#ifndef DFVISOR_CONSTANTS_P4_
#define DFVISOR_CONSTANTS_P4_

typedef bit<48> mac_t;
typedef bit<32> ipv4_t;
typedef bit<9> port_t;         // v1model
typedef bit<16> vn_id_t;       // local to one switch, given by its agent
typedef bit<16> slice_id_t;    // local to one switch, given by its agent; 0 = unknown
typedef bit<16> next_hop_id_t; // local to one switch, given by its agent
typedef bit<16> group_id_t;    // multicast group
typedef bit<12> path_class_t;
typedef bit<32> cookie_t;      // says which entry acted; P4 itself can't
typedef bit<3> queue_t;        // 7 is served first

const bit<16> ETHERTYPE_IPV4 = 0x0800; // IEEE 802 numbers
const bit<16> ETHERTYPE_IPV6 = 0x86dd;
const bit<16> ETHERTYPE_VLAN = 0x8100; // IEEE 802.1Q
const bit<16> ETHERTYPE_QINQ = 0x88a8; // IEEE 802.1ad
const bit<16> ETHERTYPE_TEB = 0x6558;  // Transparent Ethernet Bridging, RFC 1701

const bit<8> PROTO_TCP = 6; // IANA protocol numbers
const bit<8> PROTO_UDP = 17;
const bit<8> PROTO_GRE = 47;
const bit<8> PROTO_SCTP = 132;

const bit<16> ETHERNET_BYTES = 14;
const bit<16> IPV4_BYTES = 20;
const bit<16> GRE_KEYED_BYTES = 8; // RFC 2890: base header and key
const bit<8> TTL_FIRST = 64;       // at the first encapsulation

const bit<8> BEST_EFFORT = 0; // the QoS level of a best-effort slice; any other pays for flow matching

// The outer IPv4 Identification between our own switches (free to use with DF set, RFC 6864):
// bit 15 says that it was stamped, bits 11..0 carry the path class.
const bit<16> IDENTIFICATION_STAMPED = 0x8000;

enum bit<2> PortRole {
    NONE = 0,
    ACCESS = 1,
    FABRIC = 2
}

enum bit<2> MissPolicy {
    DROP = 0,
    BEST_EFFORT = 1
}

// Why a packet was dropped. Values are part of the interface of the `drops` counter: never reused.
#define DROP_REASON_BITS 5
enum bit<5> DropReason {
    NONE = 0,
    UNKNOWN_PORT = 1,      // ingress port is neither access nor fabric
    DENIED = 2,            // a flowspace says deny at the edge
    NOT_GRE = 3,           // on a fabric port: no GRE over IPv4
    OUTER_CHECKSUM = 4,    // outer IPv4 header checksum is wrong
    OUTER_MALFORMED = 5,   // outer IPv4 has options, or a length beyond the frame or too small
    OUTER_FRAGMENT = 6,    // outer IPv4 is a fragment
    GRE_UNSUPPORTED = 7,   // version, reserved bits, no key, checksum, or payload not Ethernet
    INNER_MALFORMED = 8,   // no whole Ethernet header behind GRE
    UNKNOWN_PEER = 9,      // outer source is no known VTEP
    UNKNOWN_KEY = 10,      // GRE key names no slice of this switch
    TTL_EXPIRED = 11,      // outer TTL would reach zero
    FLOW_DENIED = 12,      // a flow entry says deny
    FLOW_MISS = 13,        // no flow entry, and the slice's miss policy is drop
    NO_NEXT_HOP = 14,      // slice_forward has no entry for the inner destination
    UNKNOWN_UNICAST = 15,  // bridge has no entry, and the VN does not flood
    NOT_BACK_TO_FABRIC = 16, // best effort from the fabric for an endpoint elsewhere
    NEXT_HOP_MISSING = 17, // a next-hop id without entry
    NO_ROUTE = 18          // underlay has no route to the outer destination
}

#define SLICE_IDS 4096
#define DROP_CELLS 131072 // SLICE_IDS << DROP_REASON_BITS
#define ACCESS_PORTS 512
#define VNS 4096
#define CLASSIFIER_ENTRIES 65536
#define VTEPS 16
#define PEERS 4096
#define FLOW_ENTRIES 131072
#define MACS 131072
#define NEXT_HOPS 8192
#define ROUTES 4096
#define REPLICAS 16384

#endif
