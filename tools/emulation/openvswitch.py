"""Open vSwitch as a foreign GRE endpoint: in a namespace of its own, with the userspace datapath.

Two kinds of bridges: `under` has the uplink and the VTEP's address; one for each VN joins its
guests with a GRE port for each of our switches that has access ports of the VN. All files are in
the instance's directory, nothing of an Open vSwitch that this machine may run is touched. Its two
daemons are the supervisor's, named `ovsdb-<peer>` and `openvswitch-<peer>`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path

from emulation.errors import EmulationError
from emulation.instance import Instance
from emulation.nodes import Node
from emulation.plan import UPLINK, PeerPlan, guest_interface
from emulation.supervisor import Command, Supervisor, wait_until

INSTALL = "apt-get install openvswitch-switch"
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
UNDERLAY_PREFIX = 24
UNDER = "under"
TOOL_TIMEOUT_S = 10.0
START_DEADLINE_S = 15.0


class OpenVSwitch(Node):
    """One foreign peer. `start` it; it ends with the supervisor's other processes."""

    def __init__(self, instance: Instance, plan: PeerPlan) -> None:
        super().__init__(instance, plan.name)
        self.plan = plan
        self._directory = instance.directory / f"peer-{plan.name}"
        self._database = self._directory / "db.sock"
        self._control = self._directory / "vswitchd.ctl"
        self._address = plan.vtep
        self._bridges = {vn: f"vn{number}" for number, vn in enumerate(plan.tunnels)}

    def start_daemons(self, supervisor: Supervisor) -> None:
        """Start both daemons and set up bridges and tunnels. EmulationError if that fails."""
        missing = [
            tool
            for tool in ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovs-appctl")
            if not shutil.which(tool)
        ]
        if missing:
            raise EmulationError(f"{', '.join(missing)} not found; `{INSTALL}` brings them")
        self._directory.mkdir()
        database = self._directory / "conf.db"
        self._tool(["ovsdb-tool", "create", str(database), str(SCHEMA)])
        server = ["ovsdb-server", str(database), f"--remote=punix:{self._database}"]
        server += [f"--unixctl={self._directory / 'ovsdb.ctl'}", "--no-chdir", "-vsyslog:off"]
        self._supervise(supervisor, f"ovsdb-{self.name}", server, self._database)
        self._vsctl("--no-wait", "init")
        switch = ["ovs-vswitchd", f"unix:{self._database}", f"--unixctl={self._control}"]
        switch += ["--no-chdir", "-vsyslog:off"]
        self._supervise(supervisor, f"openvswitch-{self.name}", switch, self._control)
        self._set_up()

    def set_key(self, vn: str, key: int) -> None:
        """Send (and accept) the VN's frames under this GRE key from now on."""
        for number in range(len(self.plan.tunnels[vn][1])):
            self._vsctl("set", "interface", self._tunnel(vn, number), f"options:key={key}")

    def set_address(self, address: IPv4Address) -> None:
        """Be this VTEP from now on."""
        for word, value in (("del", self._address), ("add", address)):
            self._tool(["ip", "addr", word, f"{value}/{UNDERLAY_PREFIX}", "dev", UNDER])
        self._address = address
        wait_until(
            lambda: f"SRC {address} " in self._appctl("ovs/route/show") + " ",
            f"Open vSwitch {self.name} to see its address {address}",
            START_DEADLINE_S,
        )
        self._appctl("tnl/neigh/flush")
        self._appctl("dpctl/del-flows")  # an ARP reply that hits one of these teaches it nothing

    def neighbours(self) -> str:
        """Its tunnel neighbours: the VTEPs whose link addresses it has learned by ARP, as text."""
        return self._appctl("tnl/neigh/show")

    def _set_up(self) -> None:
        mac = self.plan.mac
        words = ["add-br", UNDER, "--", "set", "bridge", UNDER, "datapath_type=netdev"]
        words += [f"other-config:hwaddr={mac}", "--", "add-port", UNDER, UPLINK]
        for vn, (key, remotes) in self.plan.tunnels.items():
            bridge = self._bridges[vn]
            words += ["--", "add-br", bridge]
            words += ["--", "set", "bridge", bridge, "datapath_type=netdev"]
            for number, remote in enumerate(remotes):
                port = self._tunnel(vn, number)
                words += ["--", "add-port", bridge, port, "--", "set", "interface", port]
                words += ["type=gre", f"options:remote_ip={remote}", f"options:key={key}"]
        for number, guest in enumerate(self.plan.guests):
            words += ["--", "add-port", self._bridges[guest.vn], guest_interface(number)]
        self._vsctl(*words)
        if refused := self._vsctl("--columns=name,error", "find", "interface", "error!=[]").strip():
            raise EmulationError(f"Open vSwitch {self.name} refuses an interface: {refused}")
        self._tool(["ip", "link", "set", UNDER, "up"])
        self._tool(["ip", "addr", "add", f"{self._address}/{UNDERLAY_PREFIX}", "dev", UNDER])

    def _tunnel(self, vn: str, number: int) -> str:
        return f"gre-{self._bridges[vn]}-{number}"

    def _supervise(
        self, supervisor: Supervisor, name: str, argv: Sequence[str], ready: Path
    ) -> None:
        places = ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR")
        supervisor.start(
            Command(
                name=name,
                argv=tuple(argv),
                namespace=self.namespace,
                environment={place: str(self._directory) for place in places},
            )
        )
        wait_until(ready.exists, name, START_DEADLINE_S, check=supervisor.check)

    def _vsctl(self, *words: str) -> str:
        database = f"--db=unix:{self._database}"
        timeout = f"--timeout={TOOL_TIMEOUT_S:g}"
        return self._tool(["ovs-vsctl", database, timeout, "-vsyslog:off", *words])

    def _appctl(self, *words: str) -> str:
        return self._tool(["ovs-appctl", "-t", str(self._control), *words])

    def _tool(self, argv: Sequence[str]) -> str:
        done: subprocess.CompletedProcess[str] = self.run(argv, timeout_s=TOOL_TIMEOUT_S + 5)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise EmulationError(f"on {self.name}: {' '.join(argv)} failed: {said}")
        return done.stdout
