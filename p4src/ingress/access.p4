// SPDX-License-Identifier: Apache-2.0
// Where a packet comes in: the port's role, and at the edge the flowspace that claims it.

control IngressPort(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(COUNTER_ACCESS_PORT) @name(".access_port_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    // A tenant's port: its VN, and that VN's best-effort slice, which takes what no flowspace claims.
    @id(ACTION_ACCESS) @name(".set_access")
    action set_access(@id(1) vn_id_t vn, @id(2) slice_id_t best_effort_slice) {
        hits.count();
        meta.role = PortRole.ACCESS;
        meta.drop_reason = DropReason.NONE;
        meta.vn = vn;
        meta.slice_id = best_effort_slice;
        meta.ttl = TTL_FIRST;
        meta.frame_bytes = (bit<16>)standard_metadata.packet_length;
    }

    // A port to another switch.
    @id(ACTION_FABRIC) @name(".set_fabric")
    action set_fabric() {
        hits.count();
        meta.role = PortRole.FABRIC;
        meta.drop_reason = DropReason.NONE;
    }

    // Written by the agent. A miss is dropped: UNKNOWN_PORT.
    // set_access.vn refers to classifier, bridge, flood; best_effort_slice to slice_policy.
    @id(TABLE_ACCESS_PORT) @name(".access_port")
    table access_port {
        key = {
            standard_metadata.ingress_port: exact @id(1) @name("port");
        }
        actions = {
            set_access;
            set_fabric;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        size = ACCESS_PORTS;
    }

    apply {
        access_port.apply();
    }
}

control Classify(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(COUNTER_CLASSIFIER) @name(".classifier_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_CLASSIFY) @name(".classify")
    action classify(@id(1) slice_id_t slice_id, @id(2) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.slice_id = slice_id;
    }

    @id(ACTION_CLASSIFY_DENY) @name(".classify_deny")
    action classify_deny(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.drop_reason = DropReason.DENIED;
    }

    // Written by the agent, from the flowspaces of the VNs that have a port here; at the lowest
    // priority an entry per access port, so that its packets are counted whatever claims them.
    // A miss keeps the VN's best-effort slice. slice_id refers to slice_policy.
    @id(TABLE_CLASSIFIER) @name(".classifier")
    table classifier {
        key = {
            meta.vn: exact @id(1) @name("vn");
            standard_metadata.ingress_port: ternary @id(2) @name("port");
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
            classify;
            classify_deny;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        counters = hits;
        size = CLASSIFIER_ENTRIES;
    }

    apply {
        classifier.apply();
    }
}
