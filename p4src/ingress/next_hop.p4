// SPDX-License-Identifier: Apache-2.0
// Next hops and the underlay: the one place that knows fabric ports and VTEPs. Repairing a path is one
// write here; slice controllers never see it.

control NextHop(inout headers_t hdr, inout metadata_t meta,
                inout standard_metadata_t standard_metadata) {
    // An endpoint of ours; `vid` tells it apart on its port, 0 if nothing needs to.
    @id(ACTION_NEXT_HOP_LOCAL) @name(".to_port")
    action to_port(@id(1) port_t port, @id(2) vid_t vid) {
        meta.egress_vid = vid;
        standard_metadata.egress_spec = port;
    }

    // A neighbour switch over one link: the next hop of a QoS slice.
    @id(ACTION_NEXT_HOP_NEIGHBOUR) @name(".to_neighbour")
    action to_neighbour(@id(1) ipv4_t vtep, @id(2) port_t port, @id(3) mac_t mac,
                        @id(4) bit<16> mtu) {
        meta.encapsulate = 1;
        meta.tunnel_dst = vtep;
        meta.link_dst = mac;
        meta.mtu = mtu;
        standard_metadata.egress_spec = port;
    }

    // A VTEP anywhere: the end of a best-effort tunnel, reached through the underlay.
    @id(ACTION_NEXT_HOP_VTEP) @name(".to_vtep")
    action to_vtep(@id(1) ipv4_t vtep) {
        meta.encapsulate = 1;
        meta.route = 1;
        meta.tunnel_dst = vtep;
    }

    // Written by the agent. A miss is dropped: NEXT_HOP_MISSING. vtep refers to underlay.
    @id(TABLE_NEXT_HOP) @name(".next_hop")
    table next_hop {
        key = {
            meta.next_hop: exact @id(1) @name("next_hop");
        }
        actions = {
            to_port;
            to_neighbour;
            to_vtep;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = NEXT_HOPS;
    }

    @id(ACTION_ROUTE) @name(".route_to")
    action route_to(@id(1) port_t port, @id(2) mac_t mac, @id(3) bit<16> mtu) {
        meta.routed = 1;
        meta.link_dst = mac;
        meta.mtu = mtu;
        standard_metadata.egress_spec = port;
    }

    // The only member of a group whose links are all gone: BMv2 ends ingress at an empty group, so
    // nothing would count the drop, and dies of one whose members are all watched and down.
    @id(ACTION_UNREACHABLE) @name(".unreachable")
    action unreachable() {}

    @id(PROFILE_ECMP) @name(".ecmp")
    action_selector(HashAlgorithm.crc16, ECMP_MEMBERS, ECMP_GROUP_WIDTH) ecmp;

    // Written by the agent: the fabric ports and link addresses towards each VTEP, of equal cost;
    // inner headers choose. A miss is dropped (NO_ROUTE), and so is what meets a group whose
    // member is unreachable (NO_MEMBER). At least one member of each group is not watched.
    @id(TABLE_UNDERLAY) @name(".underlay")
    table underlay {
        key = {
            meta.tunnel_dst: lpm @id(1) @name("outer_dst");
            meta.hash_mix: selector;
            meta.lookup.eth_src: selector;
            meta.lookup.eth_dst: selector;
            meta.lookup.ipv4_src: selector;
            meta.lookup.ipv4_dst: selector;
            meta.lookup.ipv6_src: selector;
            meta.lookup.ipv6_dst: selector;
            meta.lookup.ip_proto: selector;
            meta.lookup.hash_ports: selector;
        }
        actions = {
            route_to;
            unreachable;
            @defaultonly NoAction;
        }
        implementation = ecmp;
        size = ROUTES;
    }

    apply {
        // The selector's CRC is linear: a seed beside its other inputs would only turn the choice of
        // all flows around alike, and switches in a row would use the same members. Carries are not.
        meta.hash_mix = (meta.lookup.hash_ports ^ meta.lookup.ipv4_src ^ meta.lookup.ipv6_src[31:0]
                         ^ meta.lookup.eth_dst[31:0])
                        + (meta.hash_seed ++ meta.hash_seed);
        if (meta.transit == 0 && !next_hop.apply().hit) {
            meta.drop_reason = DropReason.NEXT_HOP_MISSING;
        } else {
            bool outside = meta.transit == 1 || meta.encapsulate == 1;
            if (outside && meta.ttl == 0) {
                meta.drop_reason = DropReason.TTL_EXPIRED;
            } else if (meta.route == 1 && !underlay.apply().hit) {
                meta.drop_reason = DropReason.NO_ROUTE;
            } else if (meta.route == 1 && meta.routed == 0) {
                meta.drop_reason = DropReason.NO_MEMBER;
            } else if (outside && meta.frame_bytes + IPV4_BYTES + GRE_KEYED_BYTES > meta.mtu) {
                meta.punt_reason = PuntReason.TOO_BIG;
            }
        }
    }
}
