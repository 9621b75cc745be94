// SPDX-License-Identifier: Apache-2.0
// The sender at an access port: may it use these addresses, and is it known?

struct learn_t {
    vn_id_t vn;
    port_t port;
    mac_t mac;
}

control Access(inout metadata_t meta) {
    @id(ACTION_GUARD_PASS) @name(".guard_pass")
    action guard_pass() {}

    // Written by the agent where the VN forbids spoofing: the addresses that an endpoint may send
    // from; for ARP, ipv4_src is the sender's protocol address. A miss is dropped: SOURCE_GUARD.
    @id(TABLE_SOURCE_GUARD) @name(".source_guard")
    table source_guard {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.ingress_port: exact @id(2) @name("port");
            meta.lookup.eth_src: exact @id(3) @name("eth_src");
            meta.lookup.eth_type: ternary @id(4) @name("eth_type");
            meta.lookup.ipv4_src: ternary @id(5) @name("ipv4_src");
            meta.lookup.ipv6_src: ternary @id(6) @name("ipv6_src");
        }
        actions = {
            guard_pass;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = GUARDED_ADDRESSES;
    }

    @id(ACTION_HOST_KNOWN) @name(".host_known")
    action host_known() {}

    // Written by the agent where the VN learns its hosts. A miss reports the sender: digest learn_t.
    @id(TABLE_KNOWN_HOST) @name(".known_host")
    table known_host {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.ingress_port: exact @id(2) @name("port");
            meta.lookup.eth_src: exact @id(3) @name("eth_src");
        }
        actions = {
            host_known;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = KNOWN_HOSTS;
    }

    apply {
        if (meta.guarded == 1 && !source_guard.apply().hit) {
            meta.drop_reason = DropReason.SOURCE_GUARD;
        } else if (meta.learning == 1 && !known_host.apply().hit) {
            digest<learn_t>(1, { meta.vn, meta.ingress_port, meta.lookup.eth_src });
        }
    }
}
