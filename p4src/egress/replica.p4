// SPDX-License-Identifier: Apache-2.0
// Copies of a flooded frame that leave through a tunnel.

control Replica(inout metadata_t meta, inout standard_metadata_t standard_metadata) {
    @id(ACTION_REPLICA_TUNNEL) @name(".replica_to_vtep")
    action replica_to_vtep(@id(1) ipv4_t vtep, @id(2) mac_t mac) {
        meta.encapsulate = 1;
        meta.tunnel_dst = vtep;
        meta.link_dst = mac;
    }

    // Written by the agent: replication id -> remote VTEP and the link address towards it; the replica
    // itself names the fabric port. Replication id 0 is a local port and is not looked up.
    // A miss sends nothing: a tenant's frame never goes onto the fabric without its tunnel.
    @id(TABLE_REPLICA) @name(".replica")
    table replica {
        key = {
            standard_metadata.egress_rid: exact @id(1) @name("replication_id");
        }
        actions = {
            replica_to_vtep;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = REPLICAS;
    }

    apply {
        if (!replica.apply().hit) {
            mark_to_drop(standard_metadata);
        }
    }
}
