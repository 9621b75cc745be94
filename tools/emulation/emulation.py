"""One emulated network: namespaces, switches, ZooKeeper, agents and VN controllers, up and down.

    with Emulation(network, instance="test", target=Target.SOFTSWITCH) as net:
        net.dfvctl("apply", "--wait", "examples/demo.yaml")
        net.host("r1").ping("10.0.0.2")
        net.kill("vnc-1")

Processes are named `zookeeper`, `switch-<switch>`, `agent-<switch>`, `vnc-<n>`, and for a foreign
peer `ovsdb-<peer>` and `openvswitch-<peer>`. Start first
removes what a crashed run of the same instance left; whatever ends this process, its reaper
removes all of it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Self

from dfvisor.model.records import Network

from emulation import daemons, namespaces, reaper
from emulation.errors import EmulationError
from emulation.instance import Instance
from emulation.lock import Reaper, acquire
from emulation.nodes import TOOL_TIMEOUT_S, Host, SwitchNode
from emulation.openvswitch import OpenVSwitch
from emulation.plan import plan
from emulation.supervisor import Command, Journal, Supervisor, wait_until
from emulation.targets import THRIFT_PORT, Target, control_socket, switch_command
from emulation.zookeeper import ZooKeeperError, ZooKeeperServer

ZOOKEEPER = "zookeeper"
CHROOT = "/dfvisor"
SWITCH_DEADLINE_S = 30.0
BMV2_CLI = "simple_switch_CLI"


def program_of(target: Target) -> tuple[str, ...]:
    """The executable of a target; EmulationError says how to get it."""
    if target is Target.SOFTSWITCH:
        return (daemons.script("softswitch"),)
    found = shutil.which("simple_switch_grpc")
    if not found:
        raise EmulationError(
            "simple_switch_grpc is not on PATH; the README says how to get BMv2, or use "
            "TARGET=softswitch"
        )
    return (found,)


class Emulation:
    """A network on this machine. Make it, `start` it, `stop` it (or use `with`)."""

    def __init__(
        self,
        network: Network,
        *,
        instance: str = "demo",
        target: Target = Target.SOFTSWITCH,
        vncs: int = 2,
        control_plane: bool = True,
        servers: str = "",
        report: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`report` gets a line about each step of bringing up. Without `control_plane` there are
        only hosts, cables and switches. `servers`: the address of ZooKeeper servers that the caller
        runs; else there is one that belongs to the network."""
        self.instance = Instance(instance)
        self.target = target
        self.plan = plan(network)
        self._program = program_of(target)
        self._vncs = vncs
        self._control_plane = control_plane
        self._servers = servers
        self._report = report
        self._hosts = {n: Host(self.instance, p) for n, p in self.plan.hosts.items()}
        self._switches = {n: SwitchNode(self.instance, p) for n, p in self.plan.switches.items()}
        self._peers = {n: OpenVSwitch(self.instance, p) for n, p in self.plan.peers.items()}
        self._guests = {
            guest.name: Host(self.instance, guest)
            for peer in self.plan.peers.values()
            for guest in peer.guests
        }
        self._supervisor: Supervisor | None = None
        self._reaper: Reaper | None = None
        self._zookeeper = ZooKeeperServer(self.instance.directory / ZOOKEEPER)
        self._zookeeper_thread: ThreadPoolExecutor | None = None

    # -- up and down

    def start(self) -> Self:
        """Bring everything up until the agents answer; EmulationError shows the log that matters,
        and nothing is left."""
        lock = acquire(self.instance)
        try:
            if left := reaper.sweep(self.instance.name, self.instance.directory):
                raise EmulationError("an earlier run can't be removed: " + "; ".join(left))
            self.instance.logs.mkdir(parents=True)
            journal = Journal(self.instance.journal)
            journal.record("runner", "runner", os.getpid())
            self._reaper = Reaper(self.instance, lock)
        finally:
            lock.close()  # from here on the reaper holds it
        self._supervisor = Supervisor(self.instance, journal)
        self._zookeeper_thread = ThreadPoolExecutor(1, thread_name_prefix=ZOOKEEPER)
        try:
            self._bring_up(self._supervisor)
        except BaseException as error:
            self.stop(keep_logs=isinstance(error, Exception))  # not of an interrupted run
            raise
        return self

    def stop(self, *, keep_logs: bool = False) -> None:
        """End and remove everything. Safe twice. EmulationError names what could not be removed."""
        if self._reaper is None:
            return
        held, self._reaper = self._reaper, None
        held.release(clean=not keep_logs)
        if self._supervisor:
            self._supervisor.forget()
        self._zookeeper.stop()
        if self._zookeeper_thread:
            self._zookeeper_thread.shutdown()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        self.stop(keep_logs=isinstance(error, Exception))

    def _bring_up(self, supervisor: Supervisor) -> None:
        own = self._control_plane and not self._servers
        zookeeper = self._start_zookeeper() if own else None
        self._report(f"namespaces: {len(self._switches)} switches, {len(self._hosts)} hosts")
        namespaces.build(self.instance, self.plan)
        self._report(f"switches: {self.target}")
        for switch in self._switches.values():
            self._start_switch(supervisor, switch)
        for peer in self._peers.values():
            self._report(f"Open vSwitch: {peer.name}")
            peer.start_daemons(supervisor)
        if zookeeper:
            self._report("ZooKeeper")
            self._await_zookeeper(zookeeper)
        if self._control_plane:
            self._start_daemons(supervisor)
        for switch in self._switches.values():
            wait_until(
                partial(_accepts, self.instance.switch_socket(switch.name)),
                f"switch {switch.name} to serve P4Runtime",
                SWITCH_DEADLINE_S,
                check=supervisor.check,
            )

    def _start_switch(self, supervisor: Supervisor, switch: SwitchNode) -> None:
        where = self.instance.switch_socket(switch.name)
        supervisor.start(
            Command(
                name=f"switch-{switch.name}",
                argv=switch_command(self.target, self._program, switch.plan, where),
                namespace=switch.namespace,
            )
        )

    def _start_zookeeper(self) -> Future[ZooKeeperServer]:
        assert self._zookeeper_thread  # the server dies with the thread that starts it
        return self._zookeeper_thread.submit(self._zookeeper.start)

    def _await_zookeeper(self, starting: Future[ZooKeeperServer]) -> None:
        try:
            server = starting.result()
        except ZooKeeperError as error:
            raise EmulationError(str(error)) from error
        assert server.pid
        Journal(self.instance.journal).record("process", ZOOKEEPER, server.pid)

    def _start_daemons(self, supervisor: Supervisor) -> None:
        self._report(f"{len(self._switches)} agents, {self._vncs} VN controllers")
        for switch in self._switches.values():
            supervisor.start(
                daemons.agent(
                    switch.plan,
                    zookeeper=self.zookeeper,
                    socket=self.instance.switch_socket(switch.name),
                    data=self.instance.directory / f"agent-{switch.name}",
                    target=self.target,
                )
            )
        for number in range(1, self._vncs + 1):
            supervisor.start(
                daemons.vnc(
                    f"vnc-{number}",
                    zookeeper=self.zookeeper,
                    data=self.instance.directory / f"vnc-{number}",
                )
            )

    # -- what is in it

    @property
    def zookeeper(self) -> str:
        """The address of the global database, with its chroot, as `dfvctl --zookeeper` takes it."""
        return (self._servers or self._zookeeper.address) + CHROOT

    @property
    def hosts(self) -> dict[str, Host]:
        """The hosts at access ports."""
        return dict(self._hosts)

    @property
    def switches(self) -> dict[str, SwitchNode]:
        return dict(self._switches)

    @property
    def peers(self) -> dict[str, OpenVSwitch]:
        """The foreign GRE endpoints."""
        return dict(self._peers)

    def host(self, name: str) -> Host:
        """A host, at an access port or behind a foreign peer."""
        hosts = {**self._hosts, **self._guests}
        if name not in hosts:
            raise EmulationError(f"there is no host {name}; there are {sorted(hosts)}")
        return hosts[name]

    def switch(self, name: str) -> SwitchNode:
        if name not in self._switches:
            raise EmulationError(f"there is no switch {name}; there are {sorted(self._switches)}")
        return self._switches[name]

    def processes(self) -> tuple[str, ...]:
        """Names of the processes that run."""
        running = self._supervised().names()
        return (*running, ZOOKEEPER) if self._zookeeper.pid else running

    def pid(self, process: str) -> int:
        if process == ZOOKEEPER and self._zookeeper.pid:
            return self._zookeeper.pid
        return self._supervised().pid(process)

    def log(self, process: str) -> Path:
        return self._zookeeper.log if process == ZOOKEEPER else self._supervised().log(process)

    def tail(self, process: str) -> str:
        """The end of a process's log, for a message."""
        return self._supervised().tail(process)

    def ended(self) -> tuple[str, ...]:
        """Names of the processes that have ended though nobody here told them to."""
        return self._supervised().ended()

    def check(self) -> None:
        """EmulationError with the log's tail if a process has ended that nobody told to."""
        self._supervised().check()

    # -- what can be done to it

    def dfvctl(
        self, *arguments: str, timeout_s: float = TOOL_TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run dfvctl against this network, as a person would; EmulationError if it fails."""
        argv = daemons.dfvctl(self.zookeeper, arguments)
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EmulationError(
                f"dfvctl {' '.join(arguments)} took over {timeout_s:g} s"
            ) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise EmulationError(f"dfvctl {' '.join(arguments)} failed:\n{said}")
        return done

    def kill(self, process: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End one process, and wait until it has ended."""
        if process == ZOOKEEPER:
            self._zookeeper.stop()
        else:
            self._supervised().kill(process, number)

    def restart(self, process: str, *options: str) -> None:
        """Start one process again as before, ending it first if it runs; with more options from
        now on. ZooKeeper keeps its port and its data; others may take a while until they are of
        use."""
        if process == ZOOKEEPER:
            self._zookeeper.stop()
            self._await_zookeeper(self._start_zookeeper())
            return
        if process.startswith("switch-"):
            self.instance.switch_socket(process.removeprefix("switch-")).unlink(missing_ok=True)
        self._supervised().restart(process, *options)

    def limit_port(self, switch: str, port: int, pps: int | None) -> None:
        """Let a port send at most so many packets a second; None: as many as it can.

        It lasts until the switch is started again. BMv2 limits each of the port's priority queues
        by itself, not their sum.
        """
        node = self.switch(switch)
        if self.target is Target.BMV2:
            _set_queue_rate(node, port, pps or 0)
            return
        socket = control_socket(self.instance.switch_socket(switch))
        rate = "off" if pps is None else str(pps)
        done = node.run([*self._program, "ctl", str(socket), "rate", str(port), rate])
        if done.returncode:
            raise EmulationError(f"{switch}, port {port}: no rate {rate}: {done.stderr.strip()}")

    def wait_until(
        self, condition: Callable[[], bool], what: str, deadline_s: float, poll_s: float = 0.05
    ) -> float:
        """Poll a condition while the processes live; the seconds it took, or EmulationError."""
        return wait_until(condition, what, deadline_s, check=self.check, poll_s=poll_s)

    def _supervised(self) -> Supervisor:
        if self._supervisor is None:
            raise EmulationError("the emulation has not been started")
        return self._supervisor


def _set_queue_rate(node: SwitchNode, port: int, pps: int) -> None:
    """BMv2's rate of all priority queues of a port; 0 is no limit."""
    if not shutil.which(BMV2_CLI):
        raise EmulationError(f"{BMV2_CLI} is not on PATH; BMv2's queue rates are set with it")
    command = f"echo set_queue_rate {pps} {port} | {BMV2_CLI} --thrift-port {THRIFT_PORT}"
    done = node.run(["sh", "-c", command])
    if done.returncode != 0 or "rror" in done.stdout + done.stderr:
        raise EmulationError(f"{BMV2_CLI} on {node.name}: {(done.stdout + done.stderr).strip()}")


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True
