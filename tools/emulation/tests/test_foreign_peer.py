"""Open vSwitch as one end of a virtual network: its frames come and go, and only its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from dfvisor.model.description import load_network, plan, read
from emulation.demo.__main__ import apply
from emulation.demo.readings import Readings
from emulation.emulation import Emulation
from emulation.nodes import decode
from emulation.openvswitch import OpenVSwitch
from emulation.supervisor import wait_until
from emulation.targets import Target

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "foreign-peer.yaml"
NEAR = """
schema: 1
vns:
  lab:
    endpoints:
      near: {mac: "02:00:00:00:00:03", ips: [10.0.0.3], port: "s2:11"}
"""  # at the switch where the peer is attached: its tunnels end there, s2 is no transit switch
KEY = 90000
OTHER_KEY = 90001
VTEP = IPv4Address("192.0.2.100")
OTHER_VTEP = IPv4Address("192.0.2.101")
IPERF_PORT = 5201
PINGS = 5
DEADLINE_S = 10.0

pytestmark = pytest.mark.e2e


@dataclass(frozen=True, slots=True)
class Lab:
    net: Emulation
    readings: Readings
    ovs: OpenVSwitch

    def drops(self, switch: str, reason: str) -> int:
        """Packets dropped for a reason, as the switch's agent last reported."""
        stats = self.readings.stats().get(switch)
        return sum(d.packets for d in stats.drops if d.reason == reason) if stats else 0

    def ping(self, source: str, destination: str) -> int:
        """Answered echo requests of PINGS, the neighbour's address learned anew by ARP."""
        host = self.net.host(source)
        host.run(["ip", "neigh", "flush", "all"])
        target = self.net.host(destination).plan.ipv4
        return host.ping(target, PINGS, wait_s=0.5).received


@pytest.fixture(scope="module")
def lab(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    near = tmp_path_factory.mktemp("lab") / "near.yaml"
    near.write_text(NEAR)
    network = plan(load_network(EXAMPLE), read(NEAR))
    net = Emulation(network, instance=f"f{os.getpid()}", target=target, vncs=1)
    with net, Readings(net.zookeeper, sorted(net.switches)) as readings:
        apply(net, readings, EXAMPLE)
        apply(net, readings, near)
        yield Lab(net, readings, net.peers["ovs"])
        net.check()


@pytest.fixture
def wrong_key(lab: Lab) -> Iterator[str]:
    """The peer under a key that no slice has; the reason why that is dropped."""
    lab.ovs.set_key("lab", OTHER_KEY)
    yield "unknown_key"
    lab.ovs.set_key("lab", KEY)


@pytest.fixture
def unknown_peer(lab: Lab) -> Iterator[str]:
    """The peer at an address that the database does not have; the reason why that is dropped."""
    lab.ovs.set_address(OTHER_VTEP)
    yield "unknown_peer"
    lab.ovs.set_address(VTEP)


@pytest.mark.parametrize("host", ["near", "host"], ids=["access switch", "transit switch"])
@pytest.mark.parametrize("towards", ["guest", "host"])
def test_foreign_peer_exchanges_arp_and_ping_with_a_tenant_host(
    lab: Lab, host: str, towards: str
) -> None:
    ends = ("guest", host) if towards == "host" else (host, "guest")
    assert lab.ping(*ends) == PINGS


@pytest.mark.parametrize("host", ["near", "host"], ids=["access switch", "transit switch"])
@pytest.mark.parametrize("reverse", [False, True], ids=["from the guest", "to the guest"])
def test_foreign_peer_carries_tcp(lab: Lab, host: str, reverse: bool) -> None:
    server = lab.net.host(host).start(["iperf3", "-s", "-1", "-p", str(IPERF_PORT), "--forceflush"])
    try:
        assert server.stdout
        while "listening" not in (line := server.stdout.readline()):
            assert line, "iperf3 -s has ended"
        argv = ["iperf3", "-J", "-c", str(lab.net.host(host).plan.ipv4), "-p", str(IPERF_PORT)]
        argv += ["-t", "1", "--connect-timeout", "3000", *(["-R"] if reverse else [])]
        report = json.loads(lab.net.host("guest").run(argv).stdout)
    finally:
        server.kill()
        server.communicate()
    assert "error" not in report, report["error"]
    assert report["end"]["sum_received"]["bits_per_second"] > 1e6


def test_foreign_peer_learns_the_link_addresses_of_both_vteps_from_the_switch(lab: Lab) -> None:
    assert lab.ping("guest", "host") == PINGS
    assert lab.ping("guest", "near") == PINGS
    text = lab.ovs.neighbours()
    for vtep in ("192.0.2.1", "192.0.2.2"):
        assert any(line.split()[:2] == [vtep, "02:df:00:00:00:02"] for line in text.splitlines())


def test_foreign_peer_frames_to_it_are_plain_gre(lab: Lab, tmp_path: Path) -> None:
    with lab.net.switch("s2").capture(9, tmp_path / "peer.pcap", only="ip proto 47") as capture:
        assert lab.ping("host", "guest") == PINGS
    fields = ["eth.dst", "ip.src", "gre.flags_and_version", "gre.key", "ip.flags.df", "ip.ttl"]
    seen = decode(capture.file, fields, only=f"ip.dst == {VTEP}")
    assert len(seen) >= PINGS
    for mac, sources, flags, key, fragment, ttl in seen:
        assert mac.split(",")[0] == "02:00:00:00:64:01"
        assert sources.split(",")[0] == "192.0.2.1"
        assert int(flags, 16) == 0x2000  # K alone, version 0
        assert int(key, 0) == KEY
        assert fragment.split(",")[0] in ("1", "True")
        assert ttl.split(",")[0] == "63"  # 64 at the first switch, less one at the second


@pytest.mark.parametrize("host", ["near", "host"], ids=["access switch", "transit switch"])
@pytest.mark.parametrize("wrong", ["wrong_key", "unknown_peer"])
def test_foreign_peer_that_is_not_known_so_passes_nothing(
    lab: Lab, host: str, wrong: str, request: pytest.FixtureRequest
) -> None:
    end = lab.net.host(host)
    switch = end.plan.port.switch
    assert lab.ping("guest", host) == PINGS  # as it should be, it passes
    reason = request.getfixturevalue(wrong)
    lab.net.host("guest").run(["ip", "neigh", "replace", *_neighbour(lab, host)])
    heard = _settled(lambda: end.counters().rx_packets)
    before = lab.drops(switch, reason)
    asked = lab.net.host("guest").ping(end.plan.ipv4, PINGS, wait_s=0.5)
    assert asked.received == 0
    wait_until(
        lambda: lab.drops(switch, reason) >= before + PINGS,
        f"{PINGS} drops by {reason} at {switch}",
        DEADLINE_S,
    )
    assert end.counters().rx_packets == heard


def test_foreign_peer_stopped_leaves_no_process_and_no_namespace(target: Target) -> None:
    instance = f"o{os.getpid()}"
    net = Emulation(load_network(EXAMPLE), instance=instance, target=target, control_plane=False)
    with net:
        pids = [net.pid("ovsdb-ovs"), net.pid("openvswitch-ovs")]
        for pid in pids:
            assert Path(f"/proc/{pid}").exists()
        directory = net.instance.directory
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not directory.exists()
    listed = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"dfv-{instance}-" not in listed


def _neighbour(lab: Lab, host: str) -> list[str]:
    """The host as a neighbour known for good, so that the guest does not stop at asking for it."""
    plan = lab.net.host(host).plan
    return [str(plan.ipv4), "lladdr", str(plan.mac), "dev", "eth0", "nud", "permanent"]


def _settled(read: Callable[[], int]) -> int:
    """A counter when it has stopped moving."""
    last, since = read(), time.monotonic()
    while time.monotonic() - since < 0.3:
        time.sleep(0.02)
        if (now := read()) != last:
            last, since = now, time.monotonic()
    return last
