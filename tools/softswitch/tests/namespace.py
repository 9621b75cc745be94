"""Network namespaces that live and die with a thread, and raw frames on their interfaces."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

CLONE_NEWNET = 0x40000000
SOL_PACKET, PACKET_AUXDATA = 263, 8
ETH_P_ALL = 3
TP_STATUS_VLAN_VALID = 1 << 4
_AUXDATA = struct.Struct("IIIHHHH")


def in_namespace(body: Callable[[], None]) -> None:
    """Run `body` in a thread with an empty network namespace of its own; needs root."""
    failure: list[BaseException] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, f"unshare (run the tests as root): {os.strerror(code)}")
            body()
        except BaseException as error:  # noqa: BLE001  handed to the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="namespace")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def ip(*words: str) -> str:
    """Output of `ip WORDS` in the calling thread's namespace."""
    run = subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=10)
    return run.stdout


def veth(near: str, far: str, mtu: int = 1500) -> None:
    """A pair of interfaces, up, without IPv6 chatter."""
    ip("link", "add", near, "mtu", str(mtu), "type", "veth", "peer", "name", far, "mtu", str(mtu))
    for name in (near, far):
        ip("link", "set", name, "addrgenmode", "none", "up")
    # until the kernel has noticed the carrier, it drops what is sent
    deadline = time.monotonic() + 5
    while not all("state UP" in ip("link", "show", name) for name in (near, far)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{near} and {far} do not come up")
        time.sleep(0.005)


@dataclass(slots=True)
class Wire:
    """The far end of a port: sends and receives whole frames, VLAN tags restored."""

    sock: socket.socket

    @classmethod
    def open(cls, interface: str) -> Wire:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.bind((interface, ETH_P_ALL))
        return cls(sock)

    def send(self, frame: bytes) -> None:
        self.sock.send(frame)

    def receive(self, timeout_s: float = 5.0) -> bytes | None:
        """The next frame that came in, None after the timeout."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            self.sock.settimeout(left)
            try:
                frame, control, _, address = self.sock.recvmsg(65536, 256)
            except TimeoutError:
                return None
            if address[2] == socket.PACKET_OUTGOING:
                continue
            for _, kind, data in control:
                if kind == PACKET_AUXDATA:
                    status, _, _, _, _, tci, tpid = _AUXDATA.unpack(data[: _AUXDATA.size])
                    if status & TP_STATUS_VLAN_VALID:
                        frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            return bytes(frame)
        return None

    def close(self) -> None:
        self.sock.close()
