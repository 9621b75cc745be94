// SPDX-License-Identifier: Apache-2.0
// Widths, well-known numbers and their sources, table sizes.
#ifndef DFVISOR_CONSTANTS_P4_
#define DFVISOR_CONSTANTS_P4_

typedef bit<48> mac_t;
typedef bit<32> ipv4_t;
typedef bit<9> port_t;         // v1model
typedef bit<12> vid_t;         // VLAN id
typedef bit<16> vn_id_t;       // local to one switch, given by its agent
typedef bit<16> slice_id_t;    // local to one switch, given by its agent; 0 = unknown
typedef bit<16> next_hop_id_t; // local to one switch, given by its agent
typedef bit<16> group_id_t;    // multicast group
typedef bit<16> meter_id_t;    // cell of flow_meters; 0 = not metered
typedef bit<12> path_class_t;
typedef bit<32> cookie_t;      // says which entry acted; P4 itself can't
typedef bit<3> queue_t;        // 7 is served first
typedef bit<2> color_t;        // v1model: green, yellow, red

const bit<16> ETHERTYPE_IPV4 = 0x0800; // IEEE 802 numbers
const bit<16> ETHERTYPE_ARP = 0x0806;
const bit<16> ETHERTYPE_IPV6 = 0x86dd;
const bit<16> ETHERTYPE_VLAN = 0x8100; // IEEE 802.1Q
const bit<16> ETHERTYPE_QINQ = 0x88a8; // IEEE 802.1ad
const bit<16> ETHERTYPE_TEB = 0x6558;  // Transparent Ethernet Bridging, RFC 1701
const bit<16> ETHERTYPE_LLDP = 0x88cc; // discovery probes between switches

const bit<8> PROTO_HOP_BY_HOP = 0; // IANA protocol numbers
const bit<8> PROTO_TCP = 6;
const bit<8> PROTO_UDP = 17;
const bit<8> PROTO_ROUTING = 43;
const bit<8> PROTO_FRAGMENT = 44;
const bit<8> PROTO_GRE = 47;
const bit<8> PROTO_ICMPV6 = 58;
const bit<8> PROTO_DESTINATION = 60;
const bit<8> PROTO_SCTP = 132;

const bit<16> ARP_ETHERNET = 1; // RFC 826: hardware type, operations
const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY = 2;
const bit<8> ND_ADVERTISEMENT = 136; // RFC 4861 4.4
const bit<8> ND_SOURCE_LINK = 1; // option types, RFC 4861 4.6.1
const bit<8> ND_TARGET_LINK = 2;
const bit<8> ND_HOP_LIMIT = 255; // RFC 4861 7.1.1: nobody forwarded it
const bit<32> ND_SOLICITED_OVERRIDE = 0x60000000;

const bit<2> NOT_ECT = 0; // RFC 3168
const bit<2> ECT_1 = 1;
const bit<2> ECT_0 = 2;
const bit<2> CE = 3;

const bit<16> ETHERNET_BYTES = 14;
const bit<16> VLAN_BYTES = 4;
const bit<16> IPV4_BYTES = 20;
const bit<16> IPV6_BYTES = 40;
const bit<16> GRE_KEYED_BYTES = 8; // RFC 2890: base header and key
const bit<16> PACKET_OUT_BYTES = 2;
const bit<8> TTL_FIRST = 64; // at the first encapsulation

const bit<8> BEST_EFFORT = 0; // the QoS level of a best-effort slice; any other pays for flow matching

// The outer IPv4 Identification between our own switches (free to use with DF set, RFC 6864):
// bit 15 says that it was stamped, bit 14 asks every hop for a trace, bits 11..0 carry the path class.

// v1model's meter colours.
const color_t GREEN = 0;
const color_t YELLOW = 1;
const color_t RED = 2;

const bit<32> INSTANCE_EGRESS_CLONE = 2; // v1model's standard_metadata.instance_type

// Ports and sessions that agent and switch agree on.
#define CPU_PORT 510
#define TRACE_SESSION 1

enum bit<2> PortRole {
    NONE = 0,
    ACCESS = 1,
    FABRIC = 2
}

enum bit<2> MissPolicy {
    DROP = 0,
    BEST_EFFORT = 1,
    PACKET_IN = 2
}

// Why a packet was sent to the agent.
enum bit<8> PuntReason {
    NONE = 0,
    FLOW_MISS = 1,   // the slice's miss policy is packet-in
    FLOW_ACTION = 2, // a flow entry says so
    DISCOVERY = 3,   // LLDP on a fabric port
    ARP = 4,         // on a fabric port, and not a request that arp_responder answers
    TOO_BIG = 5,     // the tunnelled packet exceeds the link's MTU
    TRACE = 6        // a copy of a traced packet, as it left
}

// Why a packet was dropped. Values are part of the interface of the `drops` counter: never reused.
#define DROP_REASON_BITS 6
enum bit<6> DropReason {
    NONE = 0,
    UNKNOWN_PORT = 1,      // ingress port (and VLAN) is neither access nor fabric
    DENIED = 2,            // a flowspace says deny at the edge
    NOT_GRE = 3,           // on a fabric port: no GRE over IPv4
    OUTER_CHECKSUM = 4,    // checksum of the outer IPv4 header, or of GRE if present, is wrong
    OUTER_MALFORMED = 5,   // outer IPv4 has options, or a length beyond the frame
    OUTER_FRAGMENT = 6,    // outer IPv4 is a fragment
    GRE_UNSUPPORTED = 7,   // version, routing or reserved bits, no key, or an unknown payload
    INNER_MALFORMED = 8,   // the payload's first header is cut
    UNKNOWN_PEER = 9,      // outer source is no known VTEP
    UNKNOWN_KEY = 10,      // GRE key names no slice of this switch
    TTL_EXPIRED = 11,      // outer TTL would reach zero
    FLOW_DENIED = 12,      // a flow entry says deny
    FLOW_MISS = 13,        // no flow entry, and the slice's miss policy is drop
    NO_NEXT_HOP = 14,      // slice_forward has no entry for the inner destination
    UNKNOWN_UNICAST = 15,  // bridge has no entry, and the VN does not flood
    NOT_BACK_TO_FABRIC = 16, // best effort from the fabric for an endpoint elsewhere
    NEXT_HOP_MISSING = 17, // a next-hop id without entry
    NO_ROUTE = 18,         // underlay has no route to the outer destination
    SOURCE_GUARD = 19,     // the VN forbids spoofing, and these are not the endpoint's addresses
    UNKNOWN_L3_ENDPOINT = 20, // IP payload without Ethernet for an address that is no endpoint
    FLOW_METER = 21,       // red at the flow meter
    SLICE_METER = 22,      // red at the slice meter
    FLOOD_METER = 23,      // red at the VN's storm meter
    PUNT_METER = 24,       // red at the slice's punt meter
    MTU_EXCEEDED = 25,     // a flooded copy exceeds the link's MTU
    ECN_NOT_CAPABLE = 26,    // congestion marked outside, inside not capable: RFC 6040 4.2
    NO_MEMBER = 27,        // an ECMP group whose links are all gone
    NO_FLOOD_MEMBER = 28,  // a flood group with nobody in it
    REPLICA_MISSING = 29   // a replication id without entry
}

#define SLICE_IDS 4096
#define DROP_CELLS 262144 // SLICE_IDS << DROP_REASON_BITS
#define ACCESS_PORTS 4096
#define GUARDED_ADDRESSES 65536
#define KNOWN_HOSTS 65536
#define KNOWN_ADDRESSES 65536
#define NEIGHBOURS 65536
#define VNS 4096
#define CLASSIFIER_ENTRIES 131072
#define FLOW_METERS 16384
#define VTEPS 16
#define PEERS 4096
#define FLOW_ENTRIES 131072
#define SLICE_PATHS 16384
#define MACS 131072
#define NEXT_HOPS 8192
#define ROUTES 4096
#define ECMP_MEMBERS 4096
#define ECMP_GROUP_WIDTH 16
#define REPLICAS 16384

#endif
