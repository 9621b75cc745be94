// SPDX-License-Identifier: Apache-2.0
// The flow switch of a QoS slice: what may pass (flow) and on which path (flow, slice_path), then
// where to (slice_forward). Slice id is an exact key of all: the entries of one slice can't match
// another slice's packets, whatever their priorities.

// From here on the packet is the VN's best effort.
#define DEMOTE(meta) \
    meta.slice_id = meta.best_effort_slice; \
    meta.gre_key = meta.best_effort_key; \
    meta.qos_level = BEST_EFFORT; \
    meta.queue = 0; \
    meta.dscp = 0; \
    meta.path_class = 0; \
    meta.demoted = 1;

control FlowMatch(inout metadata_t meta) {
    @id(COUNTER_FLOW) @name(".flow_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_FLOW_PERMIT) @name(".permit")
    action permit(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
    }

    // The first of our switches decides the path class, unless it is 0: then slice_path does. The
    // later ones take it from the packet.
    @id(ACTION_FLOW_PERMIT_ON_PATH) @name(".permit_on_path")
    action permit_on_path(@id(1) path_class_t path_class, @id(2) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        if (meta.stamped == 0) {
            meta.path_class = path_class;
        }
    }

    @id(ACTION_FLOW_DENY) @name(".deny")
    action deny(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.drop_reason = DropReason.FLOW_DENIED;
    }

    @id(ACTION_FLOW_DEMOTE) @name(".demote")
    action demote(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        DEMOTE(meta)
    }

    @id(ACTION_FLOW_TO_CONTROLLER) @name(".to_controller")
    action to_controller(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.punt_reason = PuntReason.FLOW_ACTION;
    }

    // Written by the slice's controller through the slicer, which fixes slice_id.
    // A miss gets the slice's miss policy.
    @id(TABLE_FLOW) @name(".flow")
    table flow {
        key = {
            meta.slice_id: exact @id(1) @name("slice_id");
            meta.path_class: ternary @id(2) @name("path_class");
            meta.lookup.eth_src: ternary @id(4) @name("eth_src");
            meta.lookup.eth_dst: ternary @id(5) @name("eth_dst");
            meta.lookup.eth_type: ternary @id(6) @name("eth_type");
            meta.lookup.vlan_tci: ternary @id(7) @name("vlan_tci");
            meta.lookup.ipv4_src: ternary @id(8) @name("ipv4_src");
            meta.lookup.ipv4_dst: ternary @id(9) @name("ipv4_dst");
            meta.lookup.ipv6_src: ternary @id(10) @name("ipv6_src");
            meta.lookup.ipv6_dst: ternary @id(11) @name("ipv6_dst");
            meta.lookup.ip_proto: ternary @id(12) @name("ip_proto");
            meta.lookup.ip_dscp: ternary @id(13) @name("ip_dscp");
            meta.lookup.is_fragment: ternary @id(14) @name("is_fragment");
            meta.lookup.l4_src: ternary @id(15) @name("l4_src");
            meta.lookup.l4_dst: ternary @id(16) @name("l4_dst");
            meta.lookup.tcp_flags: ternary @id(17) @name("tcp_flags");
        }
        actions = {
            permit;
            permit_on_path;
            deny;
            demote;
            to_controller;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        support_timeout = true;
        size = FLOW_ENTRIES;
    }

    @id(ACTION_SLICE_PATH) @name(".set_path")
    action set_path(@id(1) path_class_t path_class) {
        meta.path_class = path_class;
    }

    // Written by the slice's controller through the slicer, which fixes slice_id: the path class of
    // packets that come in here and have none from `flow`. One entry without eth_dst moves the whole
    // slice to other paths, in one write. A miss keeps path class 0.
    @id(TABLE_SLICE_PATH) @name(".slice_path")
    table slice_path {
        key = {
            meta.slice_id: exact @id(1) @name("slice_id");
            meta.lookup.eth_dst: ternary @id(2) @name("eth_dst");
        }
        actions = {
            set_path;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = SLICE_PATHS;
    }

    apply {
        if (!flow.apply().hit) {
            if (meta.miss_policy == MissPolicy.BEST_EFFORT) {
                DEMOTE(meta)
            } else if (meta.miss_policy == MissPolicy.PACKET_IN) {
                meta.punt_reason = PuntReason.FLOW_MISS;
            } else {
                meta.drop_reason = DropReason.FLOW_MISS;
            }
        } else if (meta.drop_reason == DropReason.NONE && meta.punt_reason == PuntReason.NONE) {
            if (meta.lookup.eth_dst[40:40] == 1) {
                DEMOTE(meta)  // groups are the best-effort path's
            } else if (meta.path_class == 0 && meta.stamped == 0 && meta.demoted == 0) {
                slice_path.apply();
            }
        }
    }
}

control SliceForward(inout metadata_t meta) {
    @id(COUNTER_SLICE_FORWARD) @name(".slice_forward_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_FORWARD) @name(".forward")
    action forward(@id(1) next_hop_id_t next_hop, @id(2) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.next_hop = next_hop;
    }

    // Written by the slice's controller through the slicer, which fixes slice_id and gives the next
    // hops their ids. A miss is dropped: NO_NEXT_HOP. next_hop refers to next_hop.
    @id(TABLE_SLICE_FORWARD) @name(".slice_forward")
    table slice_forward {
        key = {
            meta.slice_id: exact @id(1) @name("slice_id");
            meta.path_class: exact @id(2) @name("path_class");
            meta.lookup.eth_dst: exact @id(3) @name("eth_dst");
        }
        actions = {
            forward;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        size = MACS;
    }

    apply {
        if (!slice_forward.apply().hit) {
            meta.drop_reason = DropReason.NO_NEXT_HOP;
        }
    }
}
