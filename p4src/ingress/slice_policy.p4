// SPDX-License-Identifier: Apache-2.0
// What a slice is to this switch, by its slice id: reached from the edge (classifier) and from the
// fabric (GRE key) alike.

control SlicePolicy(inout metadata_t meta) {
    @id(ACTION_SLICE_POLICY) @name(".set_slice_policy")
    action set_slice_policy(@id(1) bit<32> gre_key, @id(2) bit<8> qos_level,
                            @id(3) MissPolicy miss_policy, @id(4) queue_t queue,
                            @id(5) bit<6> dscp, @id(6) slice_id_t best_effort_slice,
                            @id(7) bit<32> best_effort_key, @id(8) bit<6> dscp_yellow) {
        meta.gre_key = gre_key;
        meta.qos_level = qos_level;
        meta.received_qos_level = qos_level;
        meta.miss_policy = miss_policy;
        meta.queue = queue;
        meta.dscp = dscp;
        meta.dscp_yellow = dscp_yellow;
        meta.best_effort_slice = best_effort_slice;
        meta.best_effort_key = best_effort_key;
    }

    // Written by the agent, one entry per slice id in use. access_port, classifier and slice refer to
    // it, so it is written before them. A miss (never, in a consistent switch) has no key to write on
    // the wire and is best effort.
    @id(TABLE_SLICE_POLICY) @name(".slice_policy")
    table slice_policy {
        key = {
            meta.slice_id: exact @id(1) @name("slice_id");
        }
        actions = {
            set_slice_policy;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = SLICE_IDS;
    }

    apply {
        slice_policy.apply();
    }
}
