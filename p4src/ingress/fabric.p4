// SPDX-License-Identifier: Apache-2.0
// A packet from another switch: is it sound, whose is it, and does its tunnel end here?

// RFC 6040 4.2: what the path marked on the tunnel reaches the tenant's packet: congestion (which
// drops a packet that is not capable of it), and ECT(1) where the tenant sent ECT(0).
control Congestion(in bit<2> outer, inout frame_t frame, inout DropReason drop_reason) {
    apply {
        bit<2> inner = NOT_ECT;
        bool has_ecn = true;
        if (frame.ipv4.isValid()) {
            inner = frame.ipv4.ecn;
        } else if (frame.ipv6.isValid()) {
            inner = frame.ipv6.ecn;
        } else {
            has_ecn = false;
        }
        bit<2> marked = inner;
        if (outer == CE) {
            marked = CE;
        } else if (outer == ECT_1 && inner == ECT_0) {
            marked = ECT_1;
        }
        if (has_ecn && marked != inner) {
            if (inner == NOT_ECT) {
                drop_reason = DropReason.ECN_NOT_CAPABLE;
            } else if (frame.ipv4.isValid()) {
                // Incremental checksum (RFC 1624), so that a wrong one stays wrong: what the field
                // gains, the checksum loses, in ones' complement.
                bit<16> lost = (bit<16>)marked - (bit<16>)inner;
                if (marked < inner) {
                    lost = lost - 1;
                }
                if (frame.ipv4.checksum < lost) {
                    lost = lost + 1;
                }
                frame.ipv4.checksum = frame.ipv4.checksum - lost;
                frame.ipv4.ecn = marked;
            } else {
                frame.ipv6.ecn = marked;
            }
        }
    }
}

control FabricIn(inout headers_t hdr, inout metadata_t meta,
                 inout standard_metadata_t standard_metadata) {
    @id(COUNTER_SLICE) @name(".slice_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_SLICE) @name(".set_slice")
    action set_slice(@id(1) slice_id_t slice_id, @id(2) vn_id_t vn) {
        hits.count();
        meta.slice_id = slice_id;
        meta.vn = vn;
    }

    // Written by the agent: one entry per slice that this switch carries, by its GRE key.
    // A miss is dropped if the tunnel ends here (UNKNOWN_KEY), and passes in transit.
    // slice_id refers to slice_policy, vn to bridge and flood.
    @id(TABLE_SLICE) @name(".slice")
    table slice {
        key = {
            hdr.gre_key.key: exact @id(1) @name("gre_key");
        }
        actions = {
            set_slice;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        size = SLICE_IDS;
    }

    @id(ACTION_VTEP_LOCAL) @name(".terminate")
    action terminate() {}

    // Written by the agent: the underlay addresses at which tunnels end here. A miss is transit.
    @id(TABLE_VTEP) @name(".vtep")
    table vtep {
        key = {
            hdr.first.ipv4.dst: exact @id(1) @name("outer_dst");
        }
        actions = {
            terminate;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = VTEPS;
    }

    // One of our switches: its Identification field carries the path class.
    @id(ACTION_PEER_OURS) @name(".peer_ours")
    action peer_ours() {
        if (hdr.first.ipv4.identification[15:15] == 1) {
            meta.stamped = 1;
            meta.path_class = hdr.first.ipv4.identification[11:0];
            meta.trace = hdr.first.ipv4.identification[14:14];
        }
    }

    // Somebody else's GRE endpoint: its Identification field means nothing to us.
    @id(ACTION_PEER_FOREIGN) @name(".peer_foreign")
    action peer_foreign() {}

    // Written by the agent: the VTEPs that we know. A miss is dropped if the tunnel ends here
    // (UNKNOWN_PEER), and passes in transit.
    @id(TABLE_PEER) @name(".peer")
    table peer {
        key = {
            hdr.first.ipv4.src: exact @id(1) @name("outer_src");
        }
        actions = {
            peer_ours;
            peer_foreign;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = PEERS;
    }

    Congestion() congestion;

    apply {
        bit<16> beyond_ethernet = meta.frame_bytes - ETHERNET_BYTES;
        bit<16> header_bytes = IPV4_BYTES + GRE_KEYED_BYTES;
        if (hdr.gre_checksum.isValid()) {
            header_bytes = header_bytes + 4;
        }
        if (hdr.gre_sequence.isValid()) {
            header_bytes = header_bytes + 4;
        }
        bit<16> least_bytes = 0;  // of the payload's first header
        bool cut = true;
        if (hdr.gre.protocol == ETHERTYPE_TEB) {
            cut = !hdr.second.ethernet.isValid();
            least_bytes = ETHERNET_BYTES;
        } else if (hdr.gre.protocol == ETHERTYPE_IPV4) {
            cut = !hdr.second.ipv4.isValid();
            least_bytes = IPV4_BYTES;
        } else if (hdr.gre.protocol == ETHERTYPE_IPV6) {
            cut = !hdr.second.ipv6.isValid();
            least_bytes = IPV6_BYTES;
        }

        if (!hdr.first.ipv4.isValid() || hdr.first.vlan_1.isValid()
                || hdr.first.ipv4.protocol != PROTO_GRE) {
            meta.drop_reason = DropReason.NOT_GRE;
        } else if (hdr.first.ipv4.version != 4 || hdr.first.ipv4.ihl != 5
                || hdr.first.ipv4.total_length > beyond_ethernet) {
            meta.drop_reason = DropReason.OUTER_MALFORMED;
        } else if (standard_metadata.checksum_error == 1) {
            meta.drop_reason = DropReason.OUTER_CHECKSUM;
        } else if (hdr.first.ipv4.more_fragments == 1 || hdr.first.ipv4.fragment_offset != 0) {
            meta.drop_reason = DropReason.OUTER_FRAGMENT;
        } else if (!hdr.gre_key.isValid() || hdr.gre.reserved != 0 || least_bytes == 0) {
            meta.drop_reason = DropReason.GRE_UNSUPPORTED;
        } else if (cut || hdr.first.ipv4.total_length < header_bytes + least_bytes) {
            meta.drop_reason = DropReason.INNER_MALFORMED;
        } else {
            meta.ttl = hdr.first.ipv4.ttl |-| 1;
            meta.frame_bytes = hdr.first.ipv4.total_length - header_bytes;
            bool known_slice = slice.apply().hit;
            bool known_peer = peer.apply().hit;
            if (!vtep.apply().hit) {
                meta.transit = 1;
                meta.route = 1;
                // A checksum or sequence number goes along, so it counts for the MTU.
                meta.frame_bytes = hdr.first.ipv4.total_length - IPV4_BYTES - GRE_KEYED_BYTES;
                meta.tunnel_dst = hdr.first.ipv4.dst;
                meta.queue = hdr.first.ipv4.dscp[5:3];
            } else if (!known_peer) {
                meta.drop_reason = DropReason.UNKNOWN_PEER;
            } else if (!known_slice) {
                meta.drop_reason = DropReason.UNKNOWN_KEY;
            } else {
                congestion.apply(hdr.first.ipv4.ecn, hdr.second, meta.drop_reason);
            }
        }
    }
}

// IP straight in GRE, from a peer that has no Ethernet: give it the endpoint's Ethernet header.
control L3Endpoint(inout headers_t hdr, inout metadata_t meta) {
    @id(ACTION_L3_ENDPOINT) @name(".set_l3_endpoint")
    action set_l3_endpoint(@id(1) mac_t mac) {
        hdr.second.ethernet.setValid();
        hdr.second.ethernet.dst = mac;
        hdr.second.ethernet.src = meta.link_src;
        hdr.second.ethernet.type = hdr.gre.protocol;
        meta.lookup.eth_dst = mac;
        meta.lookup.eth_src = meta.link_src;
        meta.lookup.eth_type = hdr.gre.protocol;
        meta.frame_bytes = meta.frame_bytes + ETHERNET_BYTES;
    }

    // Written by the agent: the MAC of a VN's address; the other family's field is zero.
    // A miss is dropped: UNKNOWN_L3_ENDPOINT.
    @id(TABLE_L3_ENDPOINT) @name(".l3_endpoint")
    table l3_endpoint {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.lookup.ipv4_dst: exact @id(2) @name("ipv4_dst");
            meta.lookup.ipv6_dst: exact @id(3) @name("ipv6_dst");
        }
        actions = {
            set_l3_endpoint;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = NEIGHBOURS;
    }

    apply {
        if (!l3_endpoint.apply().hit) {
            meta.drop_reason = DropReason.UNKNOWN_L3_ENDPOINT;
        }
    }
}
