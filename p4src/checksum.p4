// SPDX-License-Identifier: Apache-2.0
// Only our own outer IPv4 header is ever verified or written. A tenant's checksum is left as it is,
// right or wrong.
#ifndef DFVISOR_CHECKSUM_P4_
#define DFVISOR_CHECKSUM_P4_

#define IPV4_CHECKSUM_FIELDS(ip) { \
    ip.version, ip.ihl, ip.dscp, ip.ecn, ip.total_length, ip.identification, ip.reserved, \
    ip.dont_fragment, ip.more_fragments, ip.fragment_offset, ip.ttl, ip.protocol, ip.src, ip.dst }

control DfVerifyChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply {
        // The result is looked at on fabric ports only.
        verify_checksum(hdr.first.ipv4.isValid() && hdr.first.ipv4.ihl == 5,
                        IPV4_CHECKSUM_FIELDS(hdr.first.ipv4), hdr.first.ipv4.checksum,
                        HashAlgorithm.csum16);
    }
}

control DfComputeChecksum(inout headers_t hdr, inout metadata_t meta) {
    apply {
        update_checksum(hdr.tunnel.ipv4.isValid(), IPV4_CHECKSUM_FIELDS(hdr.tunnel.ipv4),
                        hdr.tunnel.ipv4.checksum, HashAlgorithm.csum16);
        update_checksum(meta.transit == 1, IPV4_CHECKSUM_FIELDS(hdr.first.ipv4),
                        hdr.first.ipv4.checksum, HashAlgorithm.csum16);
    }
}

#endif
