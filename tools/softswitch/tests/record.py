"""Records what BMv2 makes of `data/features.p4`: `python -m softswitch.tests.record`, as root.

Needs p4c-bm2-ss, simple_switch and simple_switch_CLI on PATH. Writes data/features.json (the
compiled program) and data/features.bmv2.json (entries, packets in, packets out, counters), which
`test_engine_bmv2.py` replays. Run it after a change of features.p4 or of the scenario below.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from softswitch.tests.namespace import in_namespace, ip

DATA = Path(__file__).with_name("data")
PROGRAM, VECTORS = DATA / "features.json", DATA / "features.bmv2.json"
PORTS = (0, 1, 2, 3, 4, 5)
THRIFT_PORT = 9090
START_S, GAP_US = 3, 1000
SEED = 2890
PACKETS = 1500

MACS = (0x020000000001, 0x020000000002, 0x030000000003)
ADDRESSES = (0x0A000001, 0x0A000102, 0x0B000001)
GROUPS = {1: [(1, 1), (2, 1), (3, 2)], 2: [(4, 7), (4, 8), (5, 9)]}
# table, key (value, mask or prefix length), priority (the highest wins), action, arguments
Entry = tuple[str, list[tuple[int, int]], int, str, list[int]]


def entries() -> list[Entry]:
    """What the tables hold."""
    rows: list[Entry] = []
    for port, action, args in (
        (0, "to_port", [1]),
        (1, "to_port", [2]),
        (2, "to_group", [1]),
        (3, "to_group", [2]),
        (4, "leave", [5]),
    ):
        rows.append(("FeatureIngress.by_port", [(port, 0)], 0, f"FeatureIngress.{action}", args))
    for mac, address, length, action, args in (
        (MACS[0], 0, 0, "mark", [3]),
        (MACS[0], 0x0A000000, 8, "to_port", [3]),
        (MACS[0], 0x0A000100, 24, "to_group", [2]),
        (MACS[1], 0x0A000001, 32, "to_port", [511]),
        (MACS[1], 0x0B000000, 31, "mark", [250]),
    ):
        key = [(mac, 0), (address, length)]
        rows.append(("FeatureIngress.route", key, 0, f"FeatureIngress.{action}", args))
    whole = (1 << 48) - 1
    for valid, vid, source, dst_port, dst_mac, priority, action, args in (
        (1, (0, 0), (0, 0), (0, 0), (0, 0), 1, "mark", [5]),
        (1, (0, 0), (0x0A000000, 8), (0, 0), (0, 0), 2, "mark", [6]),
        (1, (0, 0), (0x0A000100, 24), (53, 0xFFFF), (0, 0), 4, "mark", [7]),
        (1, (5, 0xFFF), (0, 0), (0, 0), (0, 0), 9, "drop", []),
        (0, (4, 0x004), (0, 0), (0, 0), (0, 0), 3, "leave", [4]),
        (0, (0, 0), (0, 0), (0, 0), (0x030000000000, whole), 3, "mark", [12]),
        (0, (0, 0x001), (0, 0), (0, 0), (0, 0), 2, "mark", [13]),
    ):
        rows.append(
            (
                "FeatureIngress.acl",
                [(valid, 0), vid, source, dst_port, dst_mac],
                priority,
                f"FeatureIngress.{action}",
                args,
            )
        )
    for kind, operand, delta in ((0, 3, 1), (3, (1 << 64) - 1, 0x1FFF), (5, 1 << 63, 0x0FFF)):
        key = [(kind, 0)]
        rows.append(("FeatureIngress.numbers", key, 0, "FeatureIngress.compute", [operand, delta]))
    rows.append(("FeatureEgress.copies", [(9, 0), (5, 0)], 0, "FeatureEgress.drop", []))
    rewrite = [0x0E0000000001]
    rows.append(("FeatureEgress.copies", [(1, 0), (2, 0)], 0, "FeatureEgress.rewrite", rewrite))
    rows.append(("FeatureEgress.copies", [(0, 0), (3, 0)], 0, "FeatureEgress.rewrite", rewrite))
    return rows


# --- packets --------------------------------------------------------------------------------------


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Packets:
    """Random frames that reach every part of the program, some of them cut or damaged."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)

    def numbers(self) -> bytes:
        body = bytearray(self.r.choice([bytes(31), b"\xff" * 31, self.r.randbytes(31)]))
        body[0] = body[0] & 0x1F | self.r.randrange(8) << 5
        return bytes(body) + (self.r.randbytes(31) if body[0] >= 0xE0 else b"")

    def ipv4(self) -> bytes:
        protocol = self.r.choice([17, 17, 253, 6])
        payload = self.r.randbytes(self.r.choice([0, 1, 9, 30]))
        if protocol == 253:
            payload = self.numbers() + payload
        if protocol == 17:
            port = self.r.choice([53, 7, 80])
            payload = (self.numbers() if port == 7 else b"") + payload
            check = self.r.choice([0, 1])
            payload = struct.pack("!HHHH", 1000, port, 8 + len(payload), check) + payload
        options = self.r.randbytes(4 * self.r.choice([0, 0, 0, 1, 2, 10]))
        size = 20 + len(options)
        ihl = size // 4 if self.r.random() < 0.9 else self.r.randrange(16)
        version = 4 if self.r.random() < 0.95 else 6
        head = bytearray(
            struct.pack(
                "!BBHHHBBHII",
                version << 4 | ihl,
                self.r.choice([0, 0x55, 3]),
                size + len(payload),
                self.r.getrandbits(16),
                self.r.choice([0, 0x4000, 0x2001]),
                self.r.choice([64, 1, 0]),
                protocol,
                0,
                self.r.choice(ADDRESSES),
                self.r.choice(ADDRESSES),
            )
            + options
        )
        struct.pack_into("!H", head, 10, _checksum(bytes(head)) ^ self.r.choice([0, 0, 0, 1]))
        return bytes(head) + payload

    def frame(self) -> bytes:
        tags = [
            self.r.choice([0x8100, 0x8100, 0x88A8])
            for _ in range(self.r.choice([0, 0, 1, 2, 3, 4]))
        ]
        kind = self.r.choice([0x0800, 0x0800, 0x1000, 0x1080, 0x10FF, 0x1200, 0x1205, 0x86DD])
        body = self.ipv4() if kind == 0x0800 else self.numbers()
        if kind == 0x1205:
            body = b"skip!" + body
        frame = self.r.choice(MACS).to_bytes(6, "big") + self.r.choice(MACS).to_bytes(6, "big")
        for tag in tags:
            vid = self.r.choice([4, 5, 7, 0xFFF]) | self.r.randrange(16) << 12
            frame += struct.pack("!HH", tag, vid)
        frame += struct.pack("!H", kind) + body + b"payload"
        if self.r.random() < 0.2:
            frame = frame[: self.r.randrange(1, len(frame) + 1)]
        if self.r.random() < 0.1:
            damaged = bytearray(frame)
            damaged[self.r.randrange(len(damaged))] ^= 1 << self.r.randrange(8)
            frame = bytes(damaged)
        return frame


def packets() -> list[tuple[int, bytes]]:
    """(ingress port, frame); port 5 has no entry, so its packets are dropped."""
    source = Packets(SEED)
    return [(source.r.choice(PORTS), source.frame()) for _ in range(PACKETS)]


# --- BMv2 -----------------------------------------------------------------------------------------


def _write_pcap(path: Path, frames: Sequence[tuple[int, bytes]]) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for at_us, data in frames:
            seconds, micros = divmod(at_us, 1_000_000)
            file.write(struct.pack("<IIII", seconds, micros, len(data), len(data)) + data)


def _read_pcap(path: Path) -> list[bytes]:
    data, at, frames = path.read_bytes(), 24, []
    while at < len(data):
        size = struct.unpack_from("<I", data, at + 8)[0]
        frames.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return frames


def _commands(program: dict[str, Any], rows: Sequence[Entry]) -> list[str]:
    """simple_switch_CLI commands; there, the smaller priority wins."""
    tables = {t["name"]: t for p in program["pipelines"] for t in p["tables"]}
    lines, node = list[str](), 0
    for table, key, priority, action, args in rows:
        words = []
        for (value, mask), part in zip(key, tables[table]["key"], strict=True):
            match part["match_type"]:
                case "exact":
                    words.append(hex(value))
                case "lpm":
                    words.append(f"{value:#x}/{mask}")
                case _:
                    words.append(f"{value:#x}&&&{mask:#x}")
        number = f" {1000 - priority}" if priority else ""
        values = " ".join(map(hex, args))
        lines.append(f"table_add {table} {action} {' '.join(words)} => {values}{number}")
    for group, replicas in GROUPS.items():
        lines.append(f"mc_mgrp_create {group}")
        for rid in dict.fromkeys(rid for _, rid in replicas):
            ports = " ".join(str(port) for port, r in replicas if r == rid)
            lines += [f"mc_node_create {rid} {ports}", f"mc_node_associate {group} {node}"]
            node += 1
    return lines


def _cli(lines: Sequence[str]) -> str:
    run = subprocess.run(
        ["simple_switch_CLI", "--thrift-port", str(THRIFT_PORT)],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    if "Error" in run.stdout or "Invalid" in run.stdout:
        raise RuntimeError(run.stdout)
    return run.stdout


def _await_server() -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", THRIFT_PORT), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _await_output(directory: Path, count: int) -> None:
    """Until nothing more comes: three seconds beyond the schedule without a change."""
    time.sleep(START_S + count * GAP_US / 1e6)
    size, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        now = sum(path.stat().st_size for path in directory.glob("*_out.pcap"))
        if now != size:
            size, since = now, time.monotonic()
        time.sleep(0.2)


def run(
    source: Path,
    sent: Sequence[tuple[int, bytes]],
    ports: Sequence[int],
    commands: Callable[[dict[str, Any]], list[str]],
    reads: Sequence[str],
) -> tuple[dict[str, Any], dict[int, list[str]], str]:
    """Compile a program, let BMv2 forward: program, frames out by port, what `reads` printed."""
    for tool in ("p4c-bm2-ss", "simple_switch", "simple_switch_CLI"):
        if shutil.which(tool) is None:
            raise SystemExit(f"{tool} is not on PATH")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        compiled = directory / "program.json"
        command = ["p4c-bm2-ss", "--arch", "v1model", "-o", str(compiled), source.name]
        subprocess.run(command, cwd=DATA, check=True, timeout=120)
        program: dict[str, Any] = json.loads(compiled.read_bytes())
        program["program"] = source.name
        for port in ports:
            times = ((i * GAP_US + 1, frame) for i, (p, frame) in enumerate(sent) if p == port)
            _write_pcap(directory / f"p{port}_in.pcap", list(times))
        ip("link", "set", "lo", "up")
        command = ["simple_switch", "--use-files", str(START_S), "-L", "off"]
        command += ["--thrift-port", str(THRIFT_PORT)]
        command += ["--notifications-addr", f"ipc://{directory}/notifications.ipc"]
        for port in ports:
            command += ["-i", f"{port}@p{port}"]
        switch = subprocess.Popen(
            [*command, str(compiled)], cwd=directory, stdout=subprocess.DEVNULL
        )
        try:
            _await_server()
            # nothing may be lost to a full queue
            _cli(["set_queue_depth 4096", *commands(program)])
            _await_output(directory, len(sent))
            text = _cli(reads)
        finally:
            switch.terminate()
            switch.wait(10)
        out = {
            port: sorted(f.hex() for f in _read_pcap(directory / f"p{port}_out.pcap"))
            for port in ports
        }
    return program, out, text


def save(vectors: dict[str, Any], program: dict[str, Any], name: str) -> None:
    """Write data/NAME.json and data/NAME.bmv2.json."""
    (DATA / f"{name}.json").write_text(json.dumps(program, indent=1) + "\n")
    (DATA / f"{name}.bmv2.json").write_text(_lines(vectors))


def record() -> None:
    """The files of features.p4."""
    sent, rows = packets(), entries()
    by_mark = [f"counter_read FeatureIngress.by_mark {i}" for i in range(16)]
    acl = [i for i, row in enumerate(r for r in rows if r[0] == "FeatureIngress.acl")]
    hits = [f"counter_read FeatureIngress.acl_counter {i}" for i in acl]
    program, out, text = run(
        DATA / "features.p4", sent, PORTS, lambda p: _commands(p, rows), [*by_mark, *hits]
    )
    cells = [[int(n), int(b)] for b, n in re.findall(r"\((\d+) bytes, (\d+) packets\)", text)]
    vectors = {
        "entries": rows,
        "groups": GROUPS,
        "packets": [[port, frame.hex()] for port, frame in sent],
        "out": out,
        "by_mark": cells[:16],
        "acl_counter": cells[16:],
    }
    save(vectors, program, "features")


def _lines(vectors: dict[str, Any]) -> str:
    """JSON with one packet or entry a line."""
    parts = []
    for name, value in vectors.items():
        if name == "out":
            ports = (f'"{p}": [\n{_rows(frames)}\n]' for p, frames in value.items())
            parts.append('"out": {\n' + ",\n".join(ports) + "\n}")
        elif isinstance(value, list):
            parts.append(f'"{name}": [\n{_rows(value)}\n]')
        else:
            parts.append(f'"{name}": {json.dumps(value)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _rows(values: Sequence[object]) -> str:
    return ",\n".join(json.dumps(value) for value in values)


if __name__ == "__main__":
    in_namespace(record)
