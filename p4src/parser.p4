// SPDX-License-Identifier: Apache-2.0
// The parser can't know a port's role, so it parses what is there: one frame, and behind keyed GRE
// the frame that GRE carries. A frame that is cut stops the parser; the bytes not parsed stay the
// payload, so a tenant's frame always leaves as it came.
#ifndef DFVISOR_PARSER_P4_
#define DFVISOR_PARSER_P4_

// `kind` is an EtherType: ETHERTYPE_TEB starts at an Ethernet header, the others at that of the type.
parser FrameParser(packet_in packet, in bit<16> kind, out frame_t frame, out bool carries_gre) {
    state start {
        carries_gre = false;
        transition select(kind) {
            ETHERTYPE_TEB: ethernet;
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
    }

#define ETHERTYPES(next_tag) \
            ETHERTYPE_VLAN: next_tag; \
            ETHERTYPE_QINQ: next_tag; \
            ETHERTYPE_IPV4: ipv4; \
            ETHERTYPE_IPV6: ipv6; \
            ETHERTYPE_ARP: arp; \
            default: accept;

    state ethernet {
        packet.extract(frame.ethernet);
        transition select(frame.ethernet.type) { ETHERTYPES(vlan_1) }
    }
    state vlan_1 {
        packet.extract(frame.vlan_1);
        transition select(frame.vlan_1.type) { ETHERTYPES(vlan_2) }
    }
    state vlan_2 {
        packet.extract(frame.vlan_2);
        transition select(frame.vlan_2.type) { ETHERTYPES(vlan_3) }
    }
    state vlan_3 {
        packet.extract(frame.vlan_3);
        transition select(frame.vlan_3.type) { ETHERTYPES(accept) }
    }

    state arp {
        packet.extract(frame.arp);
        transition accept;
    }

    state ipv4 {
        packet.extract(frame.ipv4);
        transition select(frame.ipv4.ihl) {
            0 .. 4: accept;
            5: ipv4_payload;
            default: ipv4_options;
        }
    }
    state ipv4_options {
        packet.extract(frame.ipv4_options,
                       ((bit<32>)frame.ipv4.ihl - 5) << 5);  // 32-bit words beyond the first five
        transition ipv4_payload;
    }
    state ipv4_payload {
        transition select(frame.ipv4.fragment_offset, frame.ipv4.protocol) {
            (0, PROTO_TCP): tcp;
            (0, PROTO_UDP): l4;
            (0, PROTO_SCTP): l4;
            (0, PROTO_GRE): gre;
            default: accept;
        }
    }

    // Up to two extension headers, then perhaps the fragment header. What comes in another order, or
    // is longer than usual, ends the parsing: the frame passes, its L4 fields are zero.
    state ipv6 {
        packet.extract(frame.ipv6);
        transition select(frame.ipv6.next_header) {
            PROTO_HOP_BY_HOP: extension_1;
            PROTO_ROUTING: extension_1;
            PROTO_DESTINATION: extension_1;
            PROTO_FRAGMENT: fragment;
            PROTO_ICMPV6: icmpv6;
            PROTO_TCP: tcp;
            PROTO_UDP: l4;
            PROTO_SCTP: l4;
            default: accept;
        }
    }
    state extension_1 {
        transition select(packet.lookahead<bit<16>>()[7:0]) {
            0 .. 7: extract_extension_1;
            default: accept;
        }
    }
    state extract_extension_1 {
        bit<8> words = packet.lookahead<bit<16>>()[7:0];
        packet.extract(frame.extension_1, ((bit<32>)words << 6) + 48);
        transition select(frame.extension_1.next_header) {
            PROTO_ROUTING: extension_2;
            PROTO_DESTINATION: extension_2;
            PROTO_FRAGMENT: fragment;
            PROTO_TCP: tcp;
            PROTO_UDP: l4;
            PROTO_SCTP: l4;
            default: accept;
        }
    }
    state extension_2 {
        transition select(packet.lookahead<bit<16>>()[7:0]) {
            0 .. 7: extract_extension_2;
            default: accept;
        }
    }
    state extract_extension_2 {
        bit<8> words = packet.lookahead<bit<16>>()[7:0];
        packet.extract(frame.extension_2, ((bit<32>)words << 6) + 48);
        transition select(frame.extension_2.next_header) {
            PROTO_FRAGMENT: fragment;
            PROTO_TCP: tcp;
            PROTO_UDP: l4;
            PROTO_SCTP: l4;
            default: accept;
        }
    }
    state fragment {
        packet.extract(frame.fragment);
        transition select(frame.fragment.offset, frame.fragment.next_header) {
            (0, PROTO_TCP): tcp;
            (0, PROTO_UDP): l4;
            (0, PROTO_SCTP): l4;
            default: accept;
        }
    }
    state icmpv6 {
        // Type, code and the length of a solicitation with one option of 8 bytes.
        transition select(packet.lookahead<bit<16>>(), frame.ipv6.payload_length) {
            (0x8700, 32): nd;
            default: accept;
        }
    }
    state nd {
        packet.extract(frame.nd);
        transition accept;
    }

    state tcp {
        packet.extract(frame.l4);
        packet.extract(frame.tcp);
        transition accept;
    }
    state l4 {
        packet.extract(frame.l4);
        transition accept;
    }
    state gre {
        carries_gre = true;
        transition accept;
    }
}

parser DfParser(packet_in packet, out headers_t hdr, inout metadata_t meta,
                inout standard_metadata_t standard_metadata) {
    FrameParser() first;
    FrameParser() second;

    state start {
        meta.ingress_port = standard_metadata.ingress_port;
        transition select(standard_metadata.ingress_port) {
            CPU_PORT: from_agent;
            default: outermost;
        }
    }
    state from_agent {
        packet.extract(hdr.packet_out);
        transition outermost;
    }
    state outermost {
        bool carries_gre;
        first.apply(packet, ETHERTYPE_TEB, hdr.first, carries_gre);
        transition select(carries_gre) {
            true: gre;
            false: accept;
        }
    }
    state gre {
        packet.extract(hdr.gre);
        // RFC 2784 2.3.1: a receiver must not go on when it does not know the version.
        transition select(hdr.gre.routing_present, hdr.gre.version, hdr.gre.key_present,
                          hdr.gre.checksum_present) {
            (0, 0, 1, 1): gre_checksum;
            (0, 0, 1, 0): gre_key;
            default: accept;
        }
    }
    state gre_checksum {
        packet.extract(hdr.gre_checksum);
        transition gre_key;
    }
    state gre_key {
        packet.extract(hdr.gre_key);
        transition select(hdr.gre.sequence_present) {
            1: gre_sequence;
            default: inner;
        }
    }
    state gre_sequence {
        packet.extract(hdr.gre_sequence);
        transition inner;
    }
    state inner {
        bool carries_gre;
        second.apply(packet, hdr.gre.protocol, hdr.second, carries_gre);
        transition accept;
    }
}

control DfDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

#endif
