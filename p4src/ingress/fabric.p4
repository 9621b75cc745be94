// SPDX-License-Identifier: Apache-2.0
// A packet from another switch: is it sound, whose is it, and does its tunnel end here?

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
            meta.path_class = hdr.first.ipv4.identification[11:0];
        }
    }

    // Somebody else's GRE endpoint: its Identification field means nothing to us.
    @id(ACTION_PEER_FOREIGN) @name(".peer_foreign")
    action peer_foreign() {}

    // Written by the agent: who may send us tunnels. A miss is dropped: UNKNOWN_PEER.
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

    apply {
        bit<16> beyond_ethernet = (bit<16>)standard_metadata.packet_length - ETHERNET_BYTES;
        bit<16> header_bytes = IPV4_BYTES + GRE_KEYED_BYTES;
        if (hdr.gre_sequence.isValid()) {
            header_bytes = header_bytes + 4;
        }

        if (!hdr.first.ipv4.isValid() || hdr.first.vlan_outer.isValid()
                || hdr.first.ipv4.protocol != PROTO_GRE) {
            meta.drop_reason = DropReason.NOT_GRE;
        } else if (hdr.first.ipv4.version != 4 || hdr.first.ipv4.ihl != 5
                || hdr.first.ipv4.total_length > beyond_ethernet) {
            meta.drop_reason = DropReason.OUTER_MALFORMED;
        } else if (standard_metadata.checksum_error == 1) {
            meta.drop_reason = DropReason.OUTER_CHECKSUM;
        } else if (hdr.first.ipv4.more_fragments == 1 || hdr.first.ipv4.fragment_offset != 0) {
            meta.drop_reason = DropReason.OUTER_FRAGMENT;
        } else if (!hdr.gre_key.isValid() || hdr.gre.reserved != 0
                || hdr.gre.protocol != ETHERTYPE_TEB) {
            meta.drop_reason = DropReason.GRE_UNSUPPORTED;
        } else if (!hdr.second.ethernet.isValid()
                || hdr.first.ipv4.total_length < header_bytes + ETHERNET_BYTES) {
            meta.drop_reason = DropReason.INNER_MALFORMED;
        } else {
            meta.ttl = hdr.first.ipv4.ttl |-| 1;
            meta.frame_bytes = hdr.first.ipv4.total_length - header_bytes;
            bool known = slice.apply().hit;
            if (!vtep.apply().hit) {
                meta.transit = 1;
                meta.route = 1;
                meta.tunnel_dst = hdr.first.ipv4.dst;
                meta.queue = hdr.first.ipv4.dscp[5:3];
            } else if (!peer.apply().hit) {
                meta.drop_reason = DropReason.UNKNOWN_PEER;
            } else if (!known) {
                meta.drop_reason = DropReason.UNKNOWN_KEY;
            }
        }
    }
}
