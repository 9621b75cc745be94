"""Real ZooKeeper servers as child processes: Debian's, on loopback, for tests and the emulation.

    with ZooKeeperServer(directory) as server:       # one standalone server
    with Ensemble(directory, 3) as ensemble:         # three that elect a leader
        ensemble.kill(ensemble.leader())

A child dies with the thread that started it (PR_SET_PDEATHSIG), so start it from one that lives on.
"""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

JARS = Path("/usr/share/java")
JAR = JARS / "zookeeper.jar"  # its manifest names all other jars, but for those of netty
INSTALL = "apt-get install zookeeper default-jre-headless"

_START_ATTEMPTS = 3
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:CompileThresholdScaling=0.1",  # servers here live for minutes, and serve little
    "-XX:+PerfDisableSharedMem",  # a file that the disk may hold up
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Dzookeeper.admin.enableServer=false",
    "-Dzookeeper.jmx.log4j.disable=true",
    "-Dzookeeper.nio.numWorkerThreads=0",  # who hears a request reads it: one thread less
    "-Dzookeeper.4lw.commands.whitelist=ruok,srvr,mntr,wchs,wchc",
)
_NETTY = (
    "buffer",
    "codec",
    "common",
    "handler",
    "resolver",
    "transport",
    "transport-native-unix-common",
    "transport-native-epoll",
)
_STANDALONE = "org.apache.zookeeper.server.ZooKeeperServerMain"
_PEER = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
SERVING = ("standalone", "leader", "follower", "observer")


class ZooKeeperError(Exception):
    """A server could not be started; the message ends with its last output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files of a server: who may connect (authorities of client certificates), and who it is.

    `identity` holds certificate and private key (PKCS #8). Then there is no port without TLS, and a
    client without a certificate is not served.
    """

    authorities: Path
    identity: Path

    def config(self, port: int) -> str:
        return (
            f"secureClientPort={port}\n"
            "secureClientPortAddress=127.0.0.1\n"
            "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n"
            f"ssl.keyStore.location={self.identity}\nssl.keyStore.type=PEM\n"
            f"ssl.trustStore.location={self.authorities}\nssl.trustStore.type=PEM\n"
            "ssl.clientAuth=need\n"
            "authProvider.x509="
            "org.apache.zookeeper.server.auth.X509AuthenticationProvider\n"
        )

    def wrap(self, connection: socket.socket) -> socket.socket:
        """As a client with the server's own certificate, to ask it how it is."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.authorities)
        context.load_cert_chain(self.identity)
        return context.wrap_socket(connection)


class ZooKeeperServer:
    """One server with its files in `data_dir`, standalone. `port` 0 takes a free one.

    `sasl` are users and passwords of SASL (DIGEST-MD5).
    """

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        *,
        tick_ms: int = 500,
        tls: Tls | None = None,
        sasl: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir)
        self.port = port
        self._fixed_port = port
        self._tick_ms = tick_ms
        self._tls = tls
        self._sasl = sasl
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """`127.0.0.1:port`, to which a chroot may be added."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """None while stopped."""
        return self._process.pid if self._process else None

    @property
    def log(self) -> Path:
        return self.data_dir / "zookeeper.log"

    def start(self, timeout_s: float = 30.0) -> Self:
        """Start and wait until it serves; raises ZooKeeperError. The data of an earlier run is
        kept.
        """
        for _ in range(_START_ATTEMPTS):
            self.launch()
            if self.wait_serving(timeout_s):
                self._fixed_port = self.port  # clients look for a restarted server where it was
                return self
            self.stop()
        raise ZooKeeperError(
            f"ZooKeeper did not start on port {self._fixed_port or 'any'}:\n{self.tail()}"
        )

    def launch(self) -> None:
        """Start without waiting."""
        if not JAR.exists():
            raise ZooKeeperError(f"{JAR} is missing: {INSTALL}")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.port = self._fixed_port or _free_port()
        self._spawn(self._main(), self._config())

    def tail(self) -> str:
        """The last lines of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])

    def _main(self) -> str:
        return _STANDALONE

    def _config(self) -> str:
        listen = f"clientPortAddress=127.0.0.1\nclientPort={self.port}\n"
        return (
            f"tickTime={self._tick_ms}\n"
            f"dataDir={self.data_dir / 'data'}\n"
            f"{self._tls.config(self.port) if self._tls else listen}"
            f"{_SASL_PROVIDER if self._sasl else ''}"
            "maxClientCnxns=0\n"
            "autopurge.snapRetainCount=3\n"
        )

    def _spawn(self, main: str, config: str) -> None:
        file = self.data_dir / "zoo.cfg"
        file.write_text(config)
        jvm = [*_JVM]
        if self._sasl:
            jvm.append(f"-Djava.security.auth.login.config={self._jaas(self._sasl)}")
        classpath = ":".join([str(JAR), *(f"{JARS}/netty-{part}.jar" for part in _NETTY)])
        # not by a preexec_fn: gRPC's handlers of fork would run in the child, and can hang there
        die_with_parent = ["setpriv", "--pdeathsig", "KILL"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*die_with_parent, "java", *jvm, "-cp", classpath, main, str(file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _jaas(self, users: dict[str, str]) -> Path:
        file = self.data_dir / "jaas.conf"
        file.touch(mode=0o600)
        listed = "\n".join(f'  user_{name}="{password}"' for name, password in users.items())
        module = "org.apache.zookeeper.server.auth.DigestLoginModule"
        file.write_text(f"Server {{\n  {module} required\n{listed};\n}};\n")
        return file

    def wait_serving(self, timeout_s: float) -> bool:
        """Whether it serves, at last; False when it has ended, or not in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            if self.mode() in SERVING:
                return True
            time.sleep(0.05)
        return False

    def mode(self) -> str:
        """One of `SERVING`; empty while it serves nobody."""
        if self._process is None:
            return ""
        for line in self.ask("srvr").splitlines():
            if line.startswith("Mode: "):
                return line.removeprefix("Mode: ").strip()
        return ""

    def ask(self, command: str) -> str:
        """Its answer to a four-letter command; empty when there is none."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as plain:
                connection = self._tls.wrap(plain) if self._tls else plain
                connection.sendall(command.encode())
                answer = b""
                while part := connection.recv(65536):
                    answer += part
                return answer.decode(errors="replace")
        except OSError:
            return ""

    def pause(self) -> None:
        """Stop the server in its tracks (SIGSTOP): connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """End it; its data stays, and `start` brings it back on the same port. Safe twice."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()  # the log of transactions is written before each answer
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


_SASL_PROVIDER = "authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider\n"


class _Member(ZooKeeperServer):
    """One server of an ensemble. `peers` are the lines that name all of them."""

    def __init__(
        self,
        data_dir: Path,
        number: int,
        port: int,
        peers: Sequence[str],
        tick_ms: int,
        tls: Tls | None,
    ) -> None:
        super().__init__(data_dir, port, tick_ms=tick_ms, tls=tls)
        self._number = number
        self._peers = peers

    def _main(self) -> str:
        return _PEER

    def _config(self) -> str:
        data = self.data_dir / "data"
        data.mkdir(parents=True, exist_ok=True)
        (data / "myid").write_text(f"{self._number}\n")
        observer = any(
            line.startswith(f"server.{self._number}=") and line.endswith(":observer")
            for line in self._peers
        )
        return (
            super()._config()
            + "initLimit=20\nsyncLimit=4\nstandaloneEnabled=false\n"
            + ("peerType=observer\n" if observer else "")
            + "".join(f"{line}\n" for line in self._peers)
        )


class Ensemble:
    """`servers` that vote, and `observers` that only follow; numbered from 0, voters first.

    `with` starts all; single ones can be killed and started again with their data.
    """

    def __init__(
        self,
        directory: Path | str,
        servers: int = 3,
        observers: int = 0,
        *,
        tick_ms: int = 500,
        tls: Tls | None = None,
    ) -> None:
        if servers < 1:
            raise ValueError(f"{servers} servers cannot elect a leader")
        self._voting = servers
        count = servers + observers
        ports = _free_ports(3 * count)
        peers = [
            f"server.{n + 1}=127.0.0.1:{ports[count + n]}:{ports[2 * count + n]}"
            + (":observer" if n >= servers else "")
            for n in range(count)
        ]
        self.members: tuple[ZooKeeperServer, ...] = tuple(
            _Member(Path(directory) / str(n), n + 1, ports[n], peers, tick_ms, tls)
            for n in range(count)
        )

    @property
    def address(self) -> str:
        """The connection string of all, to which a chroot may be added."""
        return ",".join(member.address for member in self.members)

    def start(self, timeout_s: float = 60.0) -> Self:
        """Start those that are not running and wait until all serve; raises ZooKeeperError."""
        for member in self.members:
            if member.pid is None:
                member.launch()
        self.wait_serving(timeout_s=timeout_s)
        return self

    def wait_serving(self, *numbers: int, timeout_s: float = 30.0) -> None:
        """Until these (default: all that run) serve clients; raises ZooKeeperError."""
        deadline = time.monotonic() + timeout_s
        for member in [self.members[n] for n in numbers] or self.members:
            if member.pid is None and not numbers:
                continue
            if not member.wait_serving(max(0.1, deadline - time.monotonic())):
                raise ZooKeeperError(f"{member.address} does not serve:\n{member.tail()}")

    def kill(self, number: int) -> None:
        """Without warning (SIGKILL). Its data stays."""
        self.members[number].stop()

    def restart(self, number: int) -> None:
        """Start one that was killed, and do not wait: it may be short of a quorum."""
        self.members[number].launch()

    def leader(self, timeout_s: float = 30.0) -> int:
        """The number of the server that leads; waits for an election to end."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for number, member in enumerate(self.members):
                if member.mode() in ("leader", "standalone"):
                    return number
            time.sleep(0.05)
        raise ZooKeeperError("no server leads")

    @property
    def voting(self) -> range:
        """The numbers of the servers that vote."""
        return range(self._voting)

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


def _free_port() -> int:
    return _free_ports(1)[0]


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, and that the kernel gives to no outgoing connection either:
    one of those could take it while the server is down.
    """
    low, high = _EPHEMERAL.read_text().split()
    ports = [port for port in range(10_000, 65_536) if not int(low) <= port <= int(high)]
    found: list[int] = []
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ZooKeeperError("no port is free")
