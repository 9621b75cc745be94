// SPDX-License-Identifier: Apache-2.0
// The flowspace that claims a packet at the edge, and so its slice.

control Classify(inout metadata_t meta) {
    @id(COUNTER_CLASSIFIER) @name(".classifier_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    @id(ACTION_CLASSIFY) @name(".classify")
    action classify(@id(1) slice_id_t slice_id, @id(2) cookie_t cookie, @id(3) meter_id_t meter_id) {
        hits.count();
        meta.cookie = cookie;
        meta.slice_id = slice_id;
        meta.flow_meter = meter_id;
    }

    @id(ACTION_CLASSIFY_DENY) @name(".classify_deny")
    action classify_deny(@id(1) cookie_t cookie) {
        hits.count();
        meta.cookie = cookie;
        meta.drop_reason = DropReason.DENIED;
    }

    // Written by the agent, from the flowspaces of the VNs that have a port here; at the lowest
    // priority an entry per access port, so that its packets are counted whatever claims them.
    // A miss keeps the VN's best-effort slice. slice_id refers to slice_policy, meter_id to flow_meters;
    // all entries of one flowspace share one meter.
    @id(TABLE_CLASSIFIER) @name(".classifier")
    table classifier {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.ingress_port: ternary @id(2) @name("port");
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
