"""Packets between the switch and slice controllers: pure.

A role is told of the packets of its own slices, by its own numbers; it sends out of the VN's own
access ports, or as if received there, and only frames that the switch would take for the VN's own.
"""

from __future__ import annotations

from dfvisor.model.space import Space
from dfvisor.p4rt.errors import SchemaError
from dfvisor.p4rt.p4info import Schema
from dfvisor.p4rt.pb import p4r
from dfvisor.p4rt.ports import SliceDirectory
from dfvisor.p4rt.streamed import PACKET_OUT, PacketIn, PacketOut, encode_packet_in
from dfvisor.p4rt.values import decode_value
from dfvisor.slicer.frames import outer_vlan, read_fields
from dfvisor.slicer.refusal import denied, invalid
from dfvisor.slicer.roles import Role
from dfvisor.slicer.view import SLICE_ID

MAX_FRAME_BYTES = 9216


def packet_in(
    directory: SliceDirectory, role: Role, view: Schema, packet: PacketIn, gre_key: int
) -> p4r.PacketIn:
    """A packet-in as the role sees it. `gre_key` is that of the packet's slice."""
    metadata = {
        "port": directory.virtual_port(role.vn, packet.metadata.get("port", 0)),
        "reason": packet.metadata.get("reason", 0),
        "cookie": packet.metadata.get("cookie", 0),
    }
    if role.whole_vn:
        metadata[SLICE_ID] = gre_key
    return encode_packet_in(view, PacketIn(packet.payload, metadata))


def packet_out(
    directory: SliceDirectory, role: Role, view: Schema, message: p4r.PacketOut
) -> PacketOut:
    """The packet for the switch; Refused if the role may not send it.

    A slice's role may send as if received only what its flowspaces would let in.
    """
    given: dict[str, int] = {}
    header = {one.id: one for one in view.headers[PACKET_OUT]}
    for one in message.metadata:
        field = header.get(one.metadata_id)
        if field is None or field.name in given:
            known = ", ".join(f"{id_} ({field.name})" for id_, field in header.items())
            raise invalid(f"packet-out: metadata id {one.metadata_id}, expected {known} once each")
        try:
            given[field.name] = decode_value(one.value, field.width, field.where)
        except SchemaError as error:
            raise invalid(str(error)) from error
    if not 14 <= len(message.payload) <= MAX_FRAME_BYTES:
        raise invalid(f"packet-out of {len(message.payload)} bytes, expected 14..{MAX_FRAME_BYTES}")
    port, as_ingress = given.get("port", 0), given.get("as_ingress", 0)
    vlans = directory.access_vlans(role.vn, port)
    if vlans is None:
        ports = [one for one in directory.next_hops(role.vn) if one < 1 << 9]
        raise denied(
            f"packet-out: port {port:#x} is not an access port of virtual network {role.vn} here; "
            f"allowed are {', '.join(map(str, ports)) or 'none'}"
        )
    vlan = outer_vlan(message.payload)
    if not vlans.allows(vlan):
        own = ", ".join("untagged" if one is None else str(one) for one in vlans.own)
        raise denied(
            f"packet-out: a frame with VLAN {vlan} at port {port} is not virtual network "
            f"{role.vn}'s; allowed: {own}"
        )
    if as_ingress and role.slice is not None:
        space: Space = directory.space(role.vn, role.slice)
        stripped = vlan is not None and vlan in vlans.own
        if not space.has(read_fields(message.payload, stripped=stripped)):
            raise denied(
                f"packet-out: the frame would not enter slice {role.vn}/{role.slice}; allowed "
                f"is what lies within: {space}"
            )
    return PacketOut(message.payload, {"port": port, "as_ingress": as_ingress})
