"""A host that nobody described: reached from other switches, by best effort and in a slice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from emulation.demo.probes import Probes
from emulation.emulation import Emulation
from emulation.plan import HOST_INTERFACE
from emulation.targets import Target

NETWORK = Path(__file__).resolve().parents[3] / "examples" / "redundant.yaml"
DEADLINE_S = 30.0
NEW_MAC, NEW_IP = "02:00:00:00:be:ef", "10.0.0.33"
QOS, BEST_EFFORT = 5201, 5300

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def net(target: Target, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """The network, its VN learning."""
    text = NETWORK.read_text().replace("    tenant: red\n", "    tenant: red\n    learning: true\n")
    file = tmp_path_factory.mktemp("learned") / "network.yaml"
    file.write_text(text)
    with Emulation(load_network(file), instance=f"l{os.getpid()}", target=target) as found:
        found.dfvctl("apply", str(file))
        found.wait_until(
            lambda: found.host("a").ping("10.0.0.3").received == 1, "a way from a to c", DEADLINE_S
        )
        yield found


def test_host_with_an_address_of_its_own_is_learned_and_reached(net: Emulation) -> None:
    c = net.host("c")
    with Probes([net.host("a"), c]) as probes:
        for host in ("a", "c"):
            probes.listen(host, [QOS, BEST_EFFORT])
        assert None not in probes.flow("a", "10.0.0.3", QOS, 42000, 1)
        c.run(["ip", "link", "set", HOST_INTERFACE, "address", NEW_MAC])
        known = ["ip", "neigh", "replace", "10.0.0.3", "lladdr", NEW_MAC, "dev", HOST_INTERFACE]
        assert net.host("a").run(known).returncode == 0

        def shown() -> bool:
            c.ping("10.0.0.1", wait_s=0.2)  # who says nothing is not learned
            return NEW_MAC in net.dfvctl("status").stdout

        net.wait_until(shown, "the host to be learned", DEADLINE_S)
        for port, source in ((BEST_EFFORT, 42100), (QOS, 42200)):
            net.wait_until(
                lambda port=port, source=source: (  # type: ignore[misc]
                    None not in probes.flow("a", "10.0.0.3", port, source, 1)
                ),
                f"the host to be reached at port {port}",
                DEADLINE_S,
            )


def test_address_of_a_learned_host_is_answered_by_the_askers_switch(net: Emulation) -> None:
    a, c = net.host("a"), net.host("c")
    c.run(["ip", "link", "set", HOST_INTERFACE, "address", NEW_MAC])
    c.run(["ip", "addr", "add", f"{NEW_IP}/24", "dev", HOST_INTERFACE])

    def said() -> bool:
        c.run(["ip", "neigh", "flush", "dev", HOST_INTERFACE])
        c.run(["ping", "-n", "-I", NEW_IP, "-c", "1", "-W", "0.2", "10.0.0.1"])
        return NEW_MAC in net.dfvctl("status").stdout

    net.wait_until(said, "the host to be learned", DEADLINE_S)
    silent = f"net.ipv4.conf.{HOST_INTERFACE}.arp_ignore=8"  # it answers nobody
    assert c.run(["sysctl", "-w", silent]).returncode == 0

    def reached() -> bool:
        a.run(["ip", "neigh", "flush", "dev", HOST_INTERFACE])
        return a.ping(NEW_IP, wait_s=0.2).received == 1

    net.wait_until(reached, "the host to be reached, which answers no ARP", DEADLINE_S)
