"""Builds namespaces, cables and addresses on this machine, and reads the kernel's counters there.

The only user of pyroute2. A network namespace belongs to a thread, so everything that must happen
inside one runs on a short-lived thread of its own (`inside`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

from dfvisor.model.types import PortRef
from pyroute2 import IPRoute, netns
from pyroute2.netlink.exceptions import NetlinkError

from emulation.errors import EmulationError
from emulation.instance import Instance
from emulation.plan import (
    ACCESS_MTU,
    FABRIC_MTU,
    HOST_INTERFACE,
    IPV4_PREFIX,
    IPV6_PREFIX,
    UPLINK,
    HostPlan,
    PeerPlan,
    Plan,
    guest_interface,
    switch_interface,
)

T = TypeVar("T")

NETNS = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946  # linux/sockios.h
# linux/ethtool.h: checksums, scatter-gather, segmentation and receive offloads
_OFFLOADS = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}
_GET_FLAGS, _SET_FLAGS = 0x25, 0x26
_VLAN_OFFLOADS = 1 << 7 | 1 << 8  # ETH_FLAG_TXVLAN, ETH_FLAG_RXVLAN


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceCounters:
    """What the kernel counted at one interface since it was made."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    rx_dropped: int
    tx_dropped: int


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Run `call` on a thread that is in the network namespace; its exceptions come through."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            _enter(namespace)
            result.append(call())
        except BaseException as error:  # noqa: BLE001 (handed to the caller's thread)
            failure.append(error)

    thread = threading.Thread(target=run, name=f"netns-{namespace}")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def build(instance: Instance, plan: Plan) -> None:
    """Make all namespaces and cables of the plan. EmulationError says what the kernel refused."""
    try:
        _build(instance, plan)
    except (NetlinkError, OSError) as error:
        raise EmulationError(f"cannot build the emulated network: {error}") from error


def interface_counters(namespace: str, interface: str) -> InterfaceCounters:
    """The kernel's counters of an interface in a namespace."""

    def read() -> InterfaceCounters:
        with IPRoute() as route:
            (link,) = route.get_links(ifname=interface)
            stats = link.get("stats64")
            names = InterfaceCounters.__slots__
            return InterfaceCounters(**{name: stats[name] for name in names})

    return inside(namespace, read)


def _build(instance: Instance, plan: Plan) -> None:
    guests = {guest.name: guest for peer in plan.peers.values() for guest in peer.guests}
    hosts = {**plan.hosts, **guests}
    for node in (*plan.switches, *plan.peers, *hosts):
        netns.create(instance.namespace(node))
    for node in (*plan.switches, *plan.peers):
        inside(instance.namespace(node), _quiet)
    for host in hosts.values():
        inside(instance.namespace(host.name), partial(_quiet, ipv6=host.ipv6))

    with IPRoute() as route, contextlib.ExitStack() as stack:
        file = {
            node: stack.enter_context(_opened(instance.namespace(node)))
            for node in (*plan.switches, *plan.peers, *hosts)
        }

        def cable(mtu: int, a: _End, b: _End) -> None:
            attributes = {} if a.mac is None else {"address": a.mac}
            route.link(
                "add",
                kind="veth",
                ifname=a.interface,
                net_ns_fd=file[a.node],
                mtu=mtu,
                **attributes,
                peer={"ifname": b.interface, "net_ns_fd": file[b.node], "mtu": mtu},
            )

        for host in plan.hosts.values():
            cable(ACCESS_MTU, _of_host(host), _of_port(host.port))
        for near, far in plan.links:
            cable(FABRIC_MTU, _of_port(near), _of_port(far))
        for peer in plan.peers.values():
            cable(FABRIC_MTU, _End(peer.name, UPLINK), _of_port(peer.port))
            for number, guest in enumerate(peer.guests):
                cable(ACCESS_MTU, _of_host(guest), _End(peer.name, guest_interface(number)))
    for switch_plan in plan.switches.values():
        interfaces = [switch_interface(port) for port in switch_plan.ports]
        inside(instance.namespace(switch_plan.name), partial(_bring_up, interfaces))
    for peer in plan.peers.values():
        inside(instance.namespace(peer.name), partial(_bring_up, _interfaces(peer)))
    for host in hosts.values():
        inside(instance.namespace(host.name), partial(_bring_up_host, host))


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a cable. `mac` None: whatever the kernel gives it."""

    node: str
    interface: str
    mac: str | None = None


def _of_port(port: PortRef) -> _End:
    return _End(port.switch, switch_interface(port.port))


def _of_host(host: HostPlan) -> _End:
    return _End(host.name, HOST_INTERFACE, str(host.mac))


def _interfaces(peer: PeerPlan) -> list[str]:
    return [UPLINK, *(guest_interface(number) for number in range(len(peer.guests)))]


def _enter(namespace: str) -> None:
    with _opened(namespace) as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter namespace {namespace}: {os.strerror(code)}")


@contextlib.contextmanager
def _opened(namespace: str) -> Iterator[int]:
    file = os.open(NETNS / namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield file
    finally:
        os.close(file)


def _quiet(*, ipv6: bool = False) -> None:
    """No packets that nobody asked for: no IPv6 where it is not used, else no solicitations."""
    settings = {"disable_ipv6": "0" if ipv6 else "1", "router_solicitations": "0", "accept_ra": "0"}
    root = Path("/proc/sys/net/ipv6/conf")
    if not root.is_dir():
        return  # a kernel without IPv6 is quiet enough
    for scope in ("all", "default"):
        for name, value in settings.items():
            (root / scope / name).write_text(value)


def _bring_up(interfaces: list[str]) -> None:
    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname="lo")[0], state="up")
        for name in interfaces:
            _offloads_off(name)
            route.link("set", index=route.link_lookup(ifname=name)[0], state="up")


def _bring_up_host(host: HostPlan) -> None:
    _bring_up([HOST_INTERFACE])
    with IPRoute() as route:
        (index,) = route.link_lookup(ifname=HOST_INTERFACE)
        for ip in host.ips:
            if isinstance(ip, IPv4Address):
                route.addr("add", index=index, address=str(ip), prefixlen=IPV4_PREFIX)
            else:
                route.addr("add", index=index, address=str(ip), prefixlen=IPV6_PREFIX, flags=0x02)


def _offloads_off(interface: str) -> None:
    """As `ethtool -K IF rx off tx off sg off tso off gso off gro off rxvlan off txvlan off`:
    packets cross the cable as they would cross a wire, one frame each with its checksums filled
    in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:

        def request(command: int, value: int = 0) -> int:
            data = bytearray(struct.pack("=II", command, value))
            address = (ctypes.c_char * len(data)).from_buffer(data)
            name = interface.encode()
            ifreq = struct.pack("16sP8x", name, ctypes.addressof(address))
            fcntl.ioctl(control, _SIOCETHTOOL, ifreq)
            answer: int = struct.unpack("=II", data)[1]
            return answer

        for command in _OFFLOADS.values():
            request(command, 0)
        request(_SET_FLAGS, request(_GET_FLAGS) & ~_VLAN_OFFLOADS)
