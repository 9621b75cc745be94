// SPDX-License-Identifier: Apache-2.0
// Next hops and the underlay: the one place that knows fabric ports and VTEPs. Repairing a path is one
// write here; slice controllers never see it.

control NextHop(inout headers_t hdr, inout metadata_t meta,
                inout standard_metadata_t standard_metadata) {
    @id(ACTION_NEXT_HOP_LOCAL) @name(".to_port")
    action to_port(@id(1) port_t port) {
        standard_metadata.egress_spec = port;
    }

    // A neighbour switch over one link: the next hop of a QoS slice.
    @id(ACTION_NEXT_HOP_NEIGHBOUR) @name(".to_neighbour")
    action to_neighbour(@id(1) ipv4_t vtep, @id(2) port_t port, @id(3) mac_t mac) {
        meta.encapsulate = 1;
        meta.tunnel_dst = vtep;
        meta.link_dst = mac;
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
    action route_to(@id(1) port_t port, @id(2) mac_t mac) {
        meta.link_dst = mac;
        standard_metadata.egress_spec = port;
    }

    // Written by the agent: the fabric port and link address towards each VTEP.
    // A miss is dropped: NO_ROUTE.
    @id(TABLE_UNDERLAY) @name(".underlay")
    table underlay {
        key = {
            meta.tunnel_dst: lpm @id(1) @name("outer_dst");
        }
        actions = {
            route_to;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = ROUTES;
    }

    apply {
        if (meta.transit == 0 && !next_hop.apply().hit) {
            meta.drop_reason = DropReason.NEXT_HOP_MISSING;
        } else {
            if ((meta.transit == 1 || meta.encapsulate == 1) && meta.ttl == 0) {
                meta.drop_reason = DropReason.TTL_EXPIRED;
            } else if (meta.route == 1 && !underlay.apply().hit) {
                meta.drop_reason = DropReason.NO_ROUTE;
            }
        }
    }
}
