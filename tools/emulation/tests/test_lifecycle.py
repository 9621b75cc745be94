"""Bringing networks up and down leaves nothing behind, whatever ends the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dfvisor.model.description import load_network
from emulation import reaper
from emulation.emulation import Emulation
from emulation.errors import EmulationError
from emulation.instance import ENVIRONMENT_MARK, Instance
from emulation.lock import take_down
from emulation.supervisor import wait_until
from emulation.targets import Target

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NETWORK = EXAMPLES / "two-switches.yaml"
DEADLINE_S = 15.0

# A shell's background jobs ignore SIGINT, and so would this one of a test that runs in one.
RUNNER = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from dfvisor.model.description import load_network
from emulation.emulation import Emulation
from emulation.targets import Target
net = Emulation(load_network(sys.argv[1]), instance=sys.argv[2], target=Target(sys.argv[3]))
net.start()
tool = net.host("h1").start(["sleep", "1000"])
print("up", flush=True)
time.sleep(1000)
"""

pytestmark = pytest.mark.e2e


@pytest.fixture
def instance() -> Iterator[Instance]:
    made = Instance(f"l{os.getpid()}")
    yield made
    take_down(made)


def left(instance: Instance) -> list[str]:
    """Everything of the instance that is on this machine, by looking for it."""
    found = [path.name for path in reaper.namespaces(instance.name)]
    found += [str(pid) for pid in reaper.processes(instance.name, instance.directory)]
    mark = f"{ENVIRONMENT_MARK}={instance.name}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(instance.directory).encode() in entry.read_bytes():
                found.append(f"process {entry.parent.name}")
            if mark in (entry.parent / "environ").read_bytes().split(b"\0"):
                found.append(f"marked process {entry.parent.name}")
        except OSError:
            continue  # it ended while we looked
    return found


def interfaces() -> set[str]:
    return set(os.listdir("/sys/class/net"))


def start_runner(instance: Instance, target: Target) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(NETWORK), instance.name, target],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    return process


def test_emulation_stopped_leaves_nothing(instance: Instance, target: Target) -> None:
    before = interfaces()
    net = Emulation(load_network(NETWORK), instance=instance.name, target=target)
    with net:
        assert len(reaper.namespaces(instance.name)) == 4
        assert len(net.processes()) == 7  # ZooKeeper, and two each of switch, agent, VNC
        net.host("h1").start(["sleep", "1000"])
        assert left(instance)
    assert left(instance) == []
    assert interfaces() == before
    assert not instance.directory.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_emulation_runner_ended_by_signal_leaves_nothing(
    instance: Instance, target: Target, number: signal.Signals
) -> None:
    before = interfaces()
    process = start_runner(instance, target)
    assert left(instance)
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    wait_until(lambda: not left(instance), "the reaper to finish", DEADLINE_S)
    assert interfaces() == before


def test_emulation_second_runner_of_an_instance_is_refused(
    instance: Instance, target: Target
) -> None:
    process = start_runner(instance, target)
    second = Emulation(load_network(NETWORK), instance=instance.name, target=target)
    with pytest.raises(EmulationError, match=f"already running .pid {process.pid}."):
        second.start()
    assert len(reaper.namespaces(instance.name)) == 4  # the first one's, untouched
    assert take_down(instance)
    assert process.wait(DEADLINE_S) != 0
    assert left(instance) == []


def test_emulation_start_removes_what_a_crash_of_runner_and_reaper_left(
    instance: Instance, target: Target
) -> None:
    process = start_runner(instance, target)
    reapers = [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if reaper_of(entry, instance)
    ]
    assert len(reapers) == 1
    os.kill(reapers[0], signal.SIGKILL)
    process.kill()
    process.communicate(timeout=DEADLINE_S)
    time.sleep(0.1)
    assert reaper.namespaces(instance.name), "without a reaper the namespaces stay"
    with Emulation(load_network(NETWORK), instance=instance.name, target=target) as net:
        assert net.host("h1").ping("10.0.0.1").received == 1
    assert left(instance) == []


def reaper_of(cmdline: Path, instance: Instance) -> bool:
    try:
        words = cmdline.read_bytes().split(b"\0")
    except OSError:
        return False
    return any(w.endswith(b"/reaper.py") for w in words) and instance.name.encode() in words


def test_emulation_switch_that_cannot_start_shows_its_log_and_leaves_nothing(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ("sh", "-c", "echo no such luck; exit 3")
    monkeypatch.setattr("emulation.emulation.program_of", lambda _: broken)
    net = Emulation(load_network(NETWORK), instance=instance.name)
    with pytest.raises(EmulationError, match=r"switch-s. ended with exit status 3\n(.*\n)*no such"):
        net.start()
    assert left(instance) == []
    assert (instance.logs / "switch-s1.log").read_text() == "no such luck\n"


def test_emulation_cables_carry_frames_as_they_are(instance: Instance, target: Target) -> None:
    net = Emulation(
        load_network(NETWORK), instance=instance.name, target=target, control_plane=False
    )
    with net:
        for node, interface, mtu in (
            (net.host("h1"), "eth0", 1450),
            (net.switch("s1"), "p1", 1500),
        ):
            shown = node.run(["ip", "-o", "link", "show", interface]).stdout
            assert f"mtu {mtu} " in shown
            assert "state UP" in shown
            features = node.run(["ethtool", "-k", interface]).stdout
            for name in ("tx-checksumming", "generic-segmentation-offload", "rx-vlan-offload"):
                assert f"{name}: off" in features
        assert "inet 10.0.0.1/24" in net.host("h1").run(["ip", "addr", "show", "eth0"]).stdout
        quiet = net.host("h1").counters()
        assert quiet.tx_packets == 0  # nothing that nobody asked for
        net.host("h1").run(["ping", "-c1", "-W1", "10.0.0.2"])
        assert net.host("h1").counters().tx_packets > 0

        def carried() -> bool:  # the host goes on to ask for the address, also between two readings
            sent = net.host("h1").counters().tx_packets
            return net.switch("s1").counters(11).rx_packets == sent

        net.wait_until(carried, "all frames of h1 to be at s1", 5.0)
