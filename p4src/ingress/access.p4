// SPDX-License-Identifier: Apache-2.0
// The sender at an access port: may it use these addresses, and is it known?

// The addresses are those that the sender says to be its own, by ARP or neighbour discovery; 0: none.
struct learn_t {
    vn_id_t vn;
    port_t port;
    mac_t mac;
    ipv4_t ipv4;
    bit<64> ipv6_high;
    bit<64> ipv6_low;
}

control Access(in headers_t hdr, inout metadata_t meta) {
    ipv4_t ipv4;  // that the sender says to have
    bit<128> ipv6;

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

    @id(ACTION_ADDRESS_KNOWN) @name(".address_known")
    action address_known() {}

    // Written by the agent where the VN learns its hosts: the addresses that each is known to have;
    // the other family's field is zero. A miss reports the sender, as one of known_host does.
    @id(TABLE_KNOWN_ADDRESS) @name(".known_address")
    table known_address {
        key = {
            meta.vn: exact @id(1) @name("vn");
            meta.ingress_port: exact @id(2) @name("port");
            meta.lookup.eth_src: exact @id(3) @name("eth_src");
            ipv4: exact @id(4) @name("ipv4");
            ipv6: exact @id(5) @name("ipv6");
        }
        actions = {
            address_known;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = KNOWN_ADDRESSES;
    }

    apply {
        if (meta.guarded == 1 && !source_guard.apply().hit) {
            meta.drop_reason = DropReason.SOURCE_GUARD;
        } else if (meta.learning == 1) {
            ipv4 = 0;
            ipv6 = 0;
            if (hdr.first.arp.isValid() && hdr.first.arp.hardware_type == ARP_ETHERNET
                    && hdr.first.arp.protocol_type == ETHERTYPE_IPV4
                    && hdr.first.arp.sender_mac == hdr.first.ethernet.src) {
                ipv4 = hdr.first.arp.sender_ip;  // 0 in a probe (RFC 5227)
            } else if (hdr.first.nd.isValid() && hdr.first.nd.option_type == ND_SOURCE_LINK
                       && hdr.first.nd.option_length == 1
                       && hdr.first.nd.option_mac == hdr.first.ethernet.src
                       && hdr.first.ipv6.hop_limit == ND_HOP_LIMIT) {
                ipv6 = hdr.first.ipv6.src;  // 0 in duplicate address detection (RFC 4862)
            }
            bool known = known_host.apply().hit;
            if (ipv4 != 0 || ipv6 != 0) {
                known = known_address.apply().hit && known;
            }
            if (!known) {
                digest<learn_t>(1, { meta.vn, meta.ingress_port, meta.lookup.eth_src, ipv4,
                                     ipv6[127:64], ipv6[63:0] });
            }
        }
    }
}
