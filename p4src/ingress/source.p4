// SPDX-License-Identifier: Apache-2.0
// Where a packet comes in: the switch's own addresses, packet-out, and the port's role.

control Source(inout headers_t hdr, inout metadata_t meta,
               inout standard_metadata_t standard_metadata) {
    @id(ACTION_SWITCH_CONFIG) @name(".set_switch_config")
    action set_switch_config(@id(1) ipv4_t vtep, @id(2) mac_t mac, @id(3) bit<16> hash_seed) {
        meta.tunnel_src = vtep;
        meta.link_src = mac;
        meta.hash_seed = hash_seed;
    }

    // Written by the agent, as the default entry: this switch's VTEP, link address and ECMP seed.
    @id(TABLE_SWITCH_CONFIG) @name(".switch_config")
    table switch_config {
        actions = {
            set_switch_config;
            @defaultonly NoAction;
        }
        default_action = NoAction();
    }

    @id(COUNTER_ACCESS_PORT) @name(".access_port_counter")
    direct_counter(CounterType.packets_and_bytes) hits;

    // A tenant's port, or one VLAN of it: its VN, and that VN's best-effort slice, which takes what no
    // flowspace claims. `vid` is the tag that tells the endpoint apart: taken off here, put on again
    // towards it; 0 leaves all tags to the tenant.
    @id(ACTION_ACCESS) @name(".set_access")
    action set_access(@id(1) vn_id_t vn, @id(2) slice_id_t best_effort_slice, @id(3) vid_t vid,
                      @id(4) bit<1> guarded, @id(5) bit<1> learning) {
        hits.count();
        meta.role = PortRole.ACCESS;
        meta.drop_reason = DropReason.NONE;
        meta.vn = vn;
        meta.slice_id = best_effort_slice;
        meta.ingress_vid = vid;
        meta.guarded = guarded;
        meta.learning = learning;
        meta.ttl = TTL_FIRST;
    }

    // A port to another switch.
    @id(ACTION_FABRIC) @name(".set_fabric")
    action set_fabric() {
        hits.count();
        meta.role = PortRole.FABRIC;
        meta.drop_reason = DropReason.NONE;
    }

    // Written by the agent. A miss is dropped: UNKNOWN_PORT. An entry for one VLAN has the higher
    // priority. set_access.vn refers to classifier, bridge, flood, ...; best_effort_slice to
    // slice_policy.
    @id(TABLE_ACCESS_PORT) @name(".access_port")
    table access_port {
        key = {
            meta.ingress_port: exact @id(1) @name("port");
            meta.lookup.vlan_tci: ternary @id(2) @name("vlan_tci");
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
        switch_config.apply();
        meta.frame_bytes = (bit<16>)standard_metadata.packet_length;
        if (hdr.packet_out.isValid()) {
            meta.frame_bytes = meta.frame_bytes - PACKET_OUT_BYTES;
            meta.ingress_port = hdr.packet_out.port;
            meta.trace = hdr.packet_out.trace;
        }
        if (hdr.packet_out.isValid() && hdr.packet_out.as_ingress == 0) {
            standard_metadata.egress_spec = hdr.packet_out.port;
        } else {
            meta.drop_reason = DropReason.UNKNOWN_PORT;
            if (hdr.first.vlan_1.isValid()) {
                meta.lookup.vlan_tci = 1w1 ++ hdr.first.vlan_1.vid;
            }
            access_port.apply();
            if (meta.ingress_vid != 0 && hdr.first.vlan_1.isValid()) {
                hdr.first.ethernet.type = hdr.first.vlan_1.type;
                hdr.first.vlan_1.setInvalid();
                meta.lookup.vlan_tci = 0;
                meta.frame_bytes = meta.frame_bytes - VLAN_BYTES;
            }
        }
    }
}
