// SPDX-License-Identifier: Apache-2.0
// The parser can't know a port's role, so it parses what is there: one frame, and behind keyed GRE
// the frame that GRE carries. A frame that is cut stops the parser; the bytes not parsed stay the
// payload, so a tenant's frame always leaves as it came.
#ifndef DFVISOR_PARSER_P4_
#define DFVISOR_PARSER_P4_

parser FrameParser(packet_in packet, out frame_t frame, out bool carries_gre) {
    state start {
        carries_gre = false;
        packet.extract(frame.ethernet);
        transition select(frame.ethernet.type) {
            ETHERTYPE_VLAN: vlan_outer;
            ETHERTYPE_QINQ: vlan_outer;
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
    }
    state vlan_outer {
        packet.extract(frame.vlan_outer);
        transition select(frame.vlan_outer.type) {
            ETHERTYPE_VLAN: vlan_inner;
            ETHERTYPE_QINQ: vlan_inner;
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
    }
    state vlan_inner {
        packet.extract(frame.vlan_inner);
        transition select(frame.vlan_inner.type) {
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            default: accept;
        }
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
    state ipv6 {
        packet.extract(frame.ipv6);
        transition select(frame.ipv6.next_header) {
            PROTO_TCP: tcp;
            PROTO_UDP: l4;
            PROTO_SCTP: l4;
            default: accept;
        }
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
        bool carries_gre;
        first.apply(packet, hdr.first, carries_gre);
        transition select(carries_gre) {
            true: gre;
            false: accept;
        }
    }
    state gre {
        packet.extract(hdr.gre);
        // RFC 2784 2.3.1: a receiver must not go on when it does not know the version.
        transition select(hdr.gre.checksum_present, hdr.gre.routing_present, hdr.gre.key_present,
                          hdr.gre.version) {
            (0, 0, 1, 0): gre_key;
            default: accept;
        }
    }
    state gre_key {
        packet.extract(hdr.gre_key);
        transition select(hdr.gre.sequence_present, hdr.gre.protocol) {
            (1, _): gre_sequence;
            (0, ETHERTYPE_TEB): inner;
            default: accept;
        }
    }
    state gre_sequence {
        packet.extract(hdr.gre_sequence);
        transition select(hdr.gre.protocol) {
            ETHERTYPE_TEB: inner;
            default: accept;
        }
    }
    state inner {
        bool carries_gre;
        second.apply(packet, hdr.second, carries_gre);
        transition accept;
    }
}

control DfDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr);
    }
}

#endif
