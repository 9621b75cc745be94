// SPDX-License-Identifier: Apache-2.0
// The best-effort bypass: no flow matching. Between the ends only the underlay table is consulted.

control Bridge(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(COUNTER_BRIDGE) @name(".bridge_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_BRIDGE_LOCAL) @name(".bridge_local")
    action bridge_local(@id(1) next_hop_id_t next_hop) {
        hits.count();
        meta.next_hop = next_hop;
    }

    @id(ACTION_BRIDGE_REMOTE) @name(".bridge_remote")
    action bridge_remote(@id(1) next_hop_id_t next_hop) {
        hits.count();
        meta.next_hop = next_hop;
        // Best effort goes end to end. One that was demoted here came hop by hop, and may go on.
        if (meta.role == PortRole.FABRIC && meta.received_qos_level == BEST_EFFORT) {
            meta.drop_reason = DropReason.NOT_BACK_TO_FABRIC;
        }
    }

    // Written by the agent, from the VN's endpoints. A miss is flooded where the VN says so, otherwise
    // dropped: UNKNOWN_UNICAST. next_hop refers to next_hop.
    @id(TABLE_BRIDGE) @name(".bridge")
    table bridge {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.lookup.eth_dst: exact @id(2) @name("eth_dst");
        }
        actions = {
            bridge_local;
            bridge_remote;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        size = MACS;
    }

    // The storm meter: packets that a VN floods, one cell per VN id. Configured by the agent.
    @id(METER_FLOOD) @name(".flood_meters")
    meter(VNS, MeterType.packets) flood_meters;

    // from_access: the VN's other local ports and the other VTEPs; from_fabric: the local ports only.
    // Group 0 is nobody.
    @id(ACTION_FLOOD) @name(".flood_to")
    action flood_to(@id(1) group_id_t from_access, @id(2) group_id_t from_fabric,
                    @id(3) bit<1> unknown_unicast) {
        if (meta.lookup.eth_dst[40:40] == 0 && unknown_unicast == 0) {
            meta.drop_reason = DropReason.UNKNOWN_UNICAST;
        } else {
            meta.flooded = 1;
            if (meta.role == PortRole.ACCESS) {
                standard_metadata.mcast_grp = from_access;
            } else {
                standard_metadata.mcast_grp = from_fabric;
            }
        }
    }

    // Written by the agent: the multicast groups of each VN that has a port here, and whether the VN
    // floods unicast frames for unknown MACs. A miss is dropped: UNKNOWN_UNICAST.
    @id(TABLE_FLOOD) @name(".flood")
    table flood {
        key = {
            meta.vn: exact @id(1) @name("vn");
        }
        actions = {
            flood_to;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = VNS;
    }

    apply {
        if (meta.lookup.eth_dst[40:40] == 1 || !bridge.apply().hit) {
            if (!flood.apply().hit) {
                meta.drop_reason = DropReason.UNKNOWN_UNICAST;
            } else if (meta.flooded == 1) {
                flood_meters.execute_meter((bit<32>)meta.vn, meta.color);
                if (meta.color == RED) {
                    meta.drop_reason = DropReason.FLOOD_METER;
                } else if (standard_metadata.mcast_grp == 0) {
                    meta.drop_reason = DropReason.NO_FLOOD_MEMBER;
                }
            }
        }
    }
}
