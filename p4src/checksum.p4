// SPDX-License-Identifier: Apache-2.0
// Only outer headers are verified, and only what this switch writes is computed. A tenant's checksum
// is left as it is, right or wrong.
#ifndef DFVISOR_CHECKSUM_P4_
#define DFVISOR_CHECKSUM_P4_

#define IPV4_FIELDS(ip) \
    ip.version, ip.ihl, ip.dscp, ip.ecn, ip.total_length, ip.identification, ip.reserved, \
    ip.dont_fragment, ip.more_fragments, ip.fragment_offset, ip.ttl, ip.protocol, ip.src, ip.dst

// A frame's every field, in order. v1model leaves out the headers that are not valid.
#define VLAN_FIELDS(tag) tag.pcp, tag.dei, tag.vid, tag.type
#define EXTENSION_FIELDS(header) header.next_header, header.length, header.data
#define FRAME_FIELDS(frame) \
    frame.ethernet.dst, frame.ethernet.src, frame.ethernet.type, \
    VLAN_FIELDS(frame.vlan_1), VLAN_FIELDS(frame.vlan_2), VLAN_FIELDS(frame.vlan_3), \
    frame.arp.hardware_type, frame.arp.protocol_type, frame.arp.hardware_length, \
    frame.arp.protocol_length, frame.arp.operation, frame.arp.sender_mac, frame.arp.sender_ip, \
    frame.arp.target_mac, frame.arp.target_ip, \
    frame.ipv4.version, frame.ipv4.ihl, frame.ipv4.dscp, frame.ipv4.ecn, frame.ipv4.total_length, \
    frame.ipv4.identification, frame.ipv4.reserved, frame.ipv4.dont_fragment, \
    frame.ipv4.more_fragments, frame.ipv4.fragment_offset, frame.ipv4.ttl, frame.ipv4.protocol, \
    frame.ipv4.checksum, frame.ipv4.src, frame.ipv4.dst, frame.ipv4_options.data, \
    frame.ipv6.version, frame.ipv6.dscp, frame.ipv6.ecn, frame.ipv6.flow_label, \
    frame.ipv6.payload_length, frame.ipv6.next_header, frame.ipv6.hop_limit, frame.ipv6.src, \
    frame.ipv6.dst, EXTENSION_FIELDS(frame.extension_1), EXTENSION_FIELDS(frame.extension_2), \
    frame.fragment.next_header, frame.fragment.reserved, frame.fragment.offset, \
    frame.fragment.reserved2, frame.fragment.more, frame.fragment.identification, \
    frame.nd.type, frame.nd.code, frame.nd.checksum, frame.nd.flags, frame.nd.target, \
    frame.nd.option_type, frame.nd.option_length, frame.nd.option_mac, \
    frame.l4.src, frame.l4.dst, frame.tcp.sequence, frame.tcp.acknowledgement, \
    frame.tcp.data_offset, frame.tcp.reserved, frame.tcp.flags

control DfVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply {
        // v1model has one flag for both results; it is looked at on fabric ports only.
        verify_checksum(hdr.first.ipv4.isValid() && hdr.first.ipv4.ihl == 5,
                        { IPV4_FIELDS(hdr.first.ipv4) }, hdr.first.ipv4.checksum,
                        HashAlgorithm.csum16);
        verify_checksum_with_payload(
            hdr.gre_checksum.isValid() && hdr.gre_key.isValid(),
            { hdr.gre.checksum_present, hdr.gre.routing_present, hdr.gre.key_present,
              hdr.gre.sequence_present, hdr.gre.reserved, hdr.gre.version, hdr.gre.protocol,
              hdr.gre_checksum.reserved, hdr.gre_key.key, hdr.gre_sequence.sequence,
              FRAME_FIELDS(hdr.second) },
            hdr.gre_checksum.checksum, HashAlgorithm.csum16);
    }
}

control DfComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.tunnel.ipv4.isValid(), { IPV4_FIELDS(hdr.tunnel.ipv4) },
                        hdr.tunnel.ipv4.checksum, HashAlgorithm.csum16);
        update_checksum(meta.transit == 1, { IPV4_FIELDS(hdr.first.ipv4) },
                        hdr.first.ipv4.checksum, HashAlgorithm.csum16);
        // The neighbour advertisement that nd_responder made: pseudo header (RFC 8200 8.1), message.
        update_checksum(
            meta.answered == 1 && hdr.first.nd.isValid(),
            { hdr.first.ipv6.src, hdr.first.ipv6.dst, 16w0, hdr.first.ipv6.payload_length, 24w0,
              PROTO_ICMPV6, hdr.first.nd.type, hdr.first.nd.code, hdr.first.nd.flags,
              hdr.first.nd.target, hdr.first.nd.option_type, hdr.first.nd.option_length,
              hdr.first.nd.option_mac },
            hdr.first.nd.checksum, HashAlgorithm.csum16);
    }
}

#endif
