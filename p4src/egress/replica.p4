// SPDX-License-Identifier: Apache-2.0
// Copies of a flooded frame that need more than a port: a tunnel, or an access port's tag.

control Replica(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(ACTION_REPLICA_TUNNEL) @name(".replica_to_vtep")
    action replica_to_vtep(@id(1) ipv4_t vtep, @id(2) mac_t mac, @id(3) bit<16> mtu) {
        meta.encapsulate = 1;
        meta.tunnel_dst = vtep;
        meta.link_dst = mac;
        meta.mtu = mtu;
    }

    @id(ACTION_REPLICA_PORT) @name(".replica_to_port")
    action replica_to_port(@id(1) vid_t vid) {
        meta.egress_vid = vid;
    }

    // Written by the agent, by replication id: the remote VTEP and the link address towards it (the
    // replica itself names the fabric port), or the tag of an access port's endpoint. Replication id
    // 0 is a port without tag and is not looked up. A miss is dropped (REPLICA_MISSING): a tenant's
    // frame never goes onto the fabric without its tunnel.
    @id(TABLE_REPLICA) @name(".replica")
    table replica {
        key = {
            standard_metadata.egress_rid: exact @id(1) @name("replication_id");
        }
        actions = {
            replica_to_vtep;
            replica_to_port;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = REPLICAS;
    }

    apply {
        if (!replica.apply().hit) {
            meta.drop_reason = DropReason.REPLICA_MISSING;
        } else if (meta.encapsulate == 1
                   && meta.frame_bytes + IPV4_BYTES + GRE_KEYED_BYTES > meta.mtu) {
            meta.drop_reason = DropReason.MTU_EXCEEDED;
        }
        if (meta.drop_reason != DropReason.NONE) {
            mark_to_drop(standard_metadata);
            COUNT_DROP(meta);
        }
    }
}
