"""Access ports shared by several endpoints, told apart by VLAN: tags taken off and put on again."""

from dfvisor.p4rt.drops import DropReason
from scapy.layers.l2 import ARP, Ether

from ptf_tests.base import SwitchCase
from ptf_tests.network import BLUE, FAR, ONE, RED, TWO, A
from ptf_tests.packets import arp, arriving, gold, leaving, tagged, udp
from ptf_tests.tables import group, ipv4, mac

SHARED = 1  # port 1: red's ONE on VLAN 10, red's other endpoint on VLAN 20, blue's ONE on VLAN 30
RED_VID, RED_OTHER_VID, BLUE_VID = 10, 20, 30
VIDS = ((RED, RED_VID), (RED, RED_OTHER_VID), (BLUE, BLUE_VID))
KEY = RED.best_effort.key


def tag(frame, vid=RED_VID):
    return tagged(frame, (0x8100, vid))


class _VlanCase(SwitchCase):
    def port(self, tenant, vid):
        return self.network.entry(
            "access_port",
            "set_access",
            priority=2,
            port=SHARED,
            vlan_tci=0x1000 | vid,
            vn=tenant.vn,
            best_effort_slice=tenant.best_effort.id,
            vid=vid,
        )

    def setUp(self):
        super().setUp()
        self.delete(self.network.access_port(RED, SHARED))
        for tenant, vid in VIDS:
            self.insert(
                self.port(tenant, vid),
                self.network.entry("next_hop", "to_port", next_hop=vid, port=SHARED, vid=vid),
                self.network.entry("replica", "replica_to_port", replication_id=vid, vid=vid),
            )
        self.modify(
            self.network.bridge(RED, ONE, RED_VID),
            self.network.forward(RED, ONE, 0, RED_VID),
            self.network.bridge(BLUE, ONE, BLUE_VID),
            group(
                RED.from_access,
                (SHARED, RED_VID),
                (SHARED, RED_OTHER_VID),
                (2, 0),
                (A.port, A.replication_id),
            ),
            group(RED.from_fabric, (SHARED, RED_VID), (2, 0)),
        )


class VlanTagTakenOff(_VlanCase):
    """What leaves for another port or the fabric has no access tag; lengths fit."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(SHARED, tag(frame), {2: frame})
        frame = udp(ONE, FAR)
        self.passes(SHARED, tag(frame), {A.port: leaving(frame, KEY, A)})


class VlanTagPutOn(_VlanCase):
    """What goes to the endpoint has its tag, from a port or from the fabric."""

    def runTest(self):
        frame = udp(TWO, ONE)
        self.passes(2, frame, {SHARED: tag(frame)})
        frame = udp(FAR, ONE)
        self.passes(A.port, arriving(frame, KEY, sender=A), {SHARED: tag(frame)})
        self.passes(
            A.port,
            arriving(frame, BLUE.best_effort.key, sender=A),
            {SHARED: tag(frame, BLUE_VID)},
        )


class VlanUnknownDropped(_VlanCase):
    """A VLAN that is nobody's, and untagged frames, where only VLANs have entries."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(SHARED, tag(frame), {2: frame})
        for unknown in (frame, tag(frame, 11), tag(frame, 0), tag(frame, 4095)):
            self.drops(SHARED, unknown, 0, DropReason.UNKNOWN_PORT)


class VlanOfTwoTenantsOnOnePort(_VlanCase):
    """Equal frames on two VLANs of a port belong to two tenants."""

    def runTest(self):
        frame = udp(ONE, TWO)
        self.passes(SHARED, tag(frame, RED_VID), {2: frame})
        self.passes(SHARED, tag(frame, BLUE_VID), {4: frame})
        far = udp(ONE, FAR)
        self.passes(SHARED, tag(far, BLUE_VID), {A.port: leaving(far, BLUE.best_effort.key, A)})


class VlanTagsOfTheTenantStay(_VlanCase):
    """Only the outermost tag is the port's; one or two more are the tenant's."""

    def runTest(self):
        for tags in ([(0x8100, 10)], [(0x8100, 7), (0x8100, 8)]):
            frame = tagged(udp(ONE, TWO), *tags)
            self.passes(SHARED, tag(frame), {2: frame})
            frame = tagged(udp(ONE, FAR), *tags)
            self.passes(SHARED, tag(frame), {A.port: leaving(frame, KEY, A)})
            frame = tagged(udp(TWO, ONE), *tags)
            self.passes(2, frame, {SHARED: tag(frame)})


class VlanOfTheTenantIsMatched(_VlanCase):
    """The classifier sees the tenant's own tag, not the port's."""

    def runTest(self):
        deny = self.network.entry(
            "classifier", "classify_deny", priority=30, vn=RED.vn, vlan_tci=0x1007, cookie=1
        )
        port_tag = self.network.entry(
            "classifier", "classify_deny", priority=31, vn=RED.vn, vlan_tci=0x100A, cookie=1
        )
        frame = tagged(udp(ONE, TWO), (0x8100, 7))
        self.passes(SHARED, tag(frame), {2: frame})
        self.insert(deny, port_tag)
        self.drops(SHARED, tag(frame), RED.best_effort.id, DropReason.DENIED)
        frame = udp(ONE, TWO)
        self.passes(SHARED, tag(frame), {2: frame})


class VlanUntaggedEntryBesides(_VlanCase):
    """An entry for all VLANs of lower priority takes the rest, tags and all."""

    def runTest(self):
        self.insert(self.network.access_port(RED, SHARED))
        frame = udp(ONE, TWO)
        self.passes(SHARED, frame, {2: frame})
        self.passes(SHARED, tag(frame, 99), {2: tag(frame, 99)})
        self.passes(SHARED, tag(frame), {2: frame})


class VlanFloodToTaggedAndUntagged(_VlanCase):
    """A broadcast gets the tag of each endpoint, and none where there is none."""

    def runTest(self):
        frame = arp(TWO, FAR)
        self.delete(self.port(RED, RED_OTHER_VID))
        self.modify(group(RED.from_access, (SHARED, RED_VID), (2, 0), (A.port, A.replication_id)))
        self.passes(2, frame, {SHARED: tag(frame), A.port: leaving(frame, KEY, A)})
        self.modify(group(RED.from_access, (SHARED, RED_OTHER_VID), (2, 0)))
        self.passes(2, frame, {SHARED: tag(frame, RED_OTHER_VID)})


class VlanFloodFromTaggedPort(_VlanCase):
    """A broadcast from one VLAN reaches the port's other endpoint, not its sender; untagged ports
    get no tag."""

    def runTest(self):
        frame = arp(ONE, FAR)
        self.passes(
            SHARED,
            tag(frame),
            {2: frame, SHARED: tag(frame, RED_OTHER_VID), A.port: leaving(frame, KEY, A)},
        )
        self.passes(
            SHARED,
            tag(frame, RED_OTHER_VID),
            {2: frame, SHARED: tag(frame, RED_VID), A.port: leaving(frame, KEY, A)},
        )


class VlanFloodFromFabric(_VlanCase):
    """A broadcast from another switch is tagged on the way out."""

    def runTest(self):
        frame = arp(FAR, ONE)
        packet = arriving(frame, KEY, sender=A)
        self.passes(A.port, packet, {SHARED: tag(frame), 2: frame})


class VlanOfAQosSlice(_VlanCase):
    """A QoS slice ends and begins at a tagged endpoint."""

    def runTest(self):
        frame = gold(ONE, FAR)
        self.passes(SHARED, tag(frame), {A.port: leaving(frame, RED.gold.key, A, dscp=46)})
        frame = gold(FAR, ONE)
        packet = arriving(frame, RED.gold.key, sender=A, dscp=46)
        self.passes(A.port, packet, {SHARED: tag(frame)})


class VlanArpAnsweredWithTag(_VlanCase):
    """The switch's own answer carries the asker's tag."""

    def runTest(self):
        self.insert(
            self.network.entry(
                "arp_responder", "arp_reply", vn=RED.vn, target=ipv4(FAR.ip), mac=mac(FAR.mac)
            )
        )
        answer = bytes(
            Ether(src=FAR.mac, dst=ONE.mac)
            / ARP(op=2, hwsrc=FAR.mac, psrc=FAR.ip, hwdst=ONE.mac, pdst=ONE.ip)
        )
        self.passes(SHARED, tag(arp(ONE, FAR)), {SHARED: tag(answer)})


class VlanHairpin(_VlanCase):
    """From one VLAN of a port to another of the same."""

    def runTest(self):
        self.modify(self.network.bridge(RED, TWO, RED_OTHER_VID))
        frame = udp(ONE, TWO)
        self.passes(SHARED, tag(frame), {SHARED: tag(frame, RED_OTHER_VID)})
