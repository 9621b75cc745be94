// SPDX-License-Identifier: Apache-2.0
// ARP and neighbour discovery are answered where they are asked: tenants' from the database, and on
// fabric ports (as VN 0) for this switch's VTEP. What is not known here goes its way: at an access
// port it is flooded, on a fabric port ARP goes to the agent.

control Neighbour(inout headers_t hdr, inout metadata_t meta,
                  inout standard_metadata_t standard_metadata) {
    @id(ACTION_ARP_REPLY) @name(".arp_reply")
    action arp_reply(@id(1) mac_t mac) {
        meta.answered = 1;
        hdr.first.ethernet.dst = hdr.first.ethernet.src;
        hdr.first.ethernet.src = mac;
        hdr.first.arp.operation = ARP_REPLY;
        ipv4_t asked = hdr.first.arp.target_ip;
        hdr.first.arp.target_mac = hdr.first.arp.sender_mac;
        hdr.first.arp.target_ip = hdr.first.arp.sender_ip;
        hdr.first.arp.sender_mac = mac;
        hdr.first.arp.sender_ip = asked;
    }

    // Written by the agent: the MACs of a VN's IPv4 addresses, and of the VTEP (VN 0). A miss is
    // somebody else's to answer.
    @id(TABLE_ARP_RESPONDER) @name(".arp_responder")
    table arp_responder {
        key = {
            meta.vn: exact @id(1) @name("vn");
            hdr.first.arp.target_ip: exact @id(2) @name("target");
        }
        actions = {
            arp_reply;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = NEIGHBOURS;
    }

    @id(ACTION_ND_REPLY) @name(".nd_reply")
    action nd_reply(@id(1) mac_t mac) {
        meta.answered = 1;
        hdr.first.ethernet.dst = hdr.first.ethernet.src;
        hdr.first.ethernet.src = mac;
        hdr.first.ipv6.dst = hdr.first.ipv6.src;
        hdr.first.ipv6.src = hdr.first.nd.target;
        hdr.first.nd.type = ND_ADVERTISEMENT;
        hdr.first.nd.flags = ND_SOLICITED_OVERRIDE;
        hdr.first.nd.option_type = ND_TARGET_LINK;
        hdr.first.nd.option_mac = mac;
    }

    // Written by the agent: the MACs of a VN's IPv6 addresses. A miss is somebody else's to answer.
    @id(TABLE_ND_RESPONDER) @name(".nd_responder")
    table nd_responder {
        key = {
            meta.vn: exact @id(1) @name("vn");
            hdr.first.nd.target: exact @id(2) @name("target");
        }
        actions = {
            nd_reply;
            @defaultonly NoAction;
        }
        const default_action = NoAction();
        size = NEIGHBOURS;
    }

    apply {
        if (hdr.first.arp.isValid()) {
            // A sender that asks for itself looks for a duplicate: that is for the others to hear.
            if (hdr.first.arp.operation == ARP_REQUEST
                    && hdr.first.arp.hardware_type == ARP_ETHERNET
                    && hdr.first.arp.protocol_type == ETHERTYPE_IPV4
                    && hdr.first.arp.hardware_length == 6 && hdr.first.arp.protocol_length == 4
                    && hdr.first.arp.sender_ip != hdr.first.arp.target_ip
                    && hdr.first.arp.sender_ip != 0) {
                arp_responder.apply();
            }
            if (meta.role == PortRole.FABRIC && meta.answered == 0) {
                meta.punt_reason = PuntReason.ARP;
            }
        } else if (hdr.first.nd.isValid() && hdr.first.nd.option_type == ND_SOURCE_LINK
                   && hdr.first.nd.option_length == 1
                   && hdr.first.ipv6.hop_limit == ND_HOP_LIMIT && hdr.first.ipv6.src != 0) {
            nd_responder.apply();
        } else if (meta.role == PortRole.FABRIC && hdr.first.ethernet.type == ETHERTYPE_LLDP) {
            meta.punt_reason = PuntReason.DISCOVERY;
        }
        if (meta.answered == 1) {
            standard_metadata.egress_spec = meta.ingress_port;
            meta.egress_vid = meta.ingress_vid;
        }
    }
}
