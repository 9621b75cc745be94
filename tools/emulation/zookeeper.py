"""A real ZooKeeper server as a child process: Debian's, on loopback, for tests and the emulation.

The child dies with the thread that started it (PR_SET_PDEATHSIG), so start it from one that lives
on.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

JAR = Path("/usr/share/java/zookeeper.jar")  # its manifest names all other jars
INSTALL = "apt-get install zookeeper default-jre-headless"

_PR_SET_PDEATHSIG = 1
_START_ATTEMPTS = 3
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_JVM = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-Djava.awt.headless=true",
    "-Dzookeeper.admin.enableServer=false",
    "-Dzookeeper.jmx.log4j.disable=true",
    "-Dzookeeper.4lw.commands.whitelist=ruok,srvr,mntr,wchs,wchc",
)


class ZooKeeperError(Exception):
    """The server could not be started; the message ends with its last output."""


class ZooKeeperServer:
    """One standalone server with its files in `data_dir`. `port` 0 takes a free one."""

    def __init__(self, data_dir: Path | str, port: int = 0, *, tick_ms: int = 500) -> None:
        self.data_dir = Path(data_dir)
        self.port = port
        self._fixed_port = port
        self._tick_ms = tick_ms
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
        if not JAR.exists():
            raise ZooKeeperError(f"{JAR} is missing: {INSTALL}")
        self.data_dir.mkdir(parents=True, exist_ok=True)
        for _ in range(_START_ATTEMPTS):
            self.port = self._fixed_port or _free_port()
            self._spawn()
            if self._wait_ready(timeout_s):
                self._fixed_port = self.port  # clients look for a restarted server where it was
                return self
            self.stop()
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise ZooKeeperError(
            f"ZooKeeper did not start on port {self._fixed_port or 'any'}:\n{tail}"
        )

    def _spawn(self) -> None:
        config = self.data_dir / "zoo.cfg"
        config.write_text(
            f"tickTime={self._tick_ms}\n"
            f"dataDir={self.data_dir / 'data'}\n"
            "clientPortAddress=127.0.0.1\n"
            f"clientPort={self.port}\n"
            "maxClientCnxns=0\n"
            "autopurge.snapRetainCount=3\n"
        )
        libc = ctypes.CDLL(None, use_errno=True)

        def die_with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "java",
                    *_JVM,
                    "-cp",
                    str(JAR),
                    "org.apache.zookeeper.server.ZooKeeperServerMain",
                    str(config),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )

    def _wait_ready(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            if self._answers():
                return True
            time.sleep(0.05)
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                connection.sendall(b"srvr")
                return b"Mode: standalone" in connection.recv(4096)
        except OSError:
            return False

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


def _free_port() -> int:
    """A port that nobody listens at, and that the kernel gives to no outgoing connection either:
    one of those could take it while the server is down.
    """
    low, high = _EPHEMERAL.read_text().split()
    ports = [port for port in range(10_000, 65_536) if not int(low) <= port <= int(high)]
    for port in random.sample(ports, len(ports)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ZooKeeperError("no port is free")
