"""Which member of a group a packet takes: one scenario, for BMv2 to record and for us to repeat.

`python -m softswitch.tests.selection` runs it on BMv2 (needs root, `simple_switch_grpc` on PATH)
and writes data/selection.bmv2.json; `test_server_selection.py` repeats it here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from softswitch.server.pb import p4r
from softswitch.tests.namespace import Wire, in_namespace, ip, veth
from softswitch.tests.p4client import (
    DATA,
    Names,
    batch_errors,
    connected,
    exact,
    streams_config,
)

VECTORS = DATA / "selection.bmv2.json"
PROFILE = "ecmp"
IN_PORT = 1
PORTS = (2, 3, 4, 5, 6)
"""Member k + 1 sends to PORTS[k]."""
GROUPS = (2, 3, 4, 5)
"""A group's number is its number of members at first; its packets go to MAC 02:00:00:00:01:<it>."""
PACKETS = 1000
ETHERTYPE = 0x88B5
FRAME_BYTES = 60

Update = tuple[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """A change and then packets: to `groups`, after the updates and the ports' new states."""

    name: str
    updates: tuple[Update, ...] = ()
    down: tuple[int, ...] = ()
    up: tuple[int, ...] = ()
    groups: tuple[int, ...] = GROUPS


def frames(group: int) -> list[bytes]:
    """PACKETS frames with random sources to a group; always the same."""
    chance = random.Random(group)
    head = b"\x02\x00\x00\x00\x01" + bytes([group])
    tail = ETHERTYPE.to_bytes(2, "big")
    return [
        (head + bytes([2]) + chance.randbytes(5) + tail).ljust(FRAME_BYTES, b"\0")
        for _ in range(PACKETS)
    ]


def steps() -> Iterator[Step]:
    """The scenario: members and groups first, then one-shot action sets."""
    names = Names(streams_config().p4info)
    make = _Maker(names)
    yield Step(
        "members inserted in another order than that of their ids",
        (
            *(("INSERT", make.member(id_)) for id_ in (3, 1, 5, 2, 4)),
            *(("INSERT", make.group(g, dict.fromkeys(range(1, g + 1), 1))) for g in GROUPS),
            *(("INSERT", make.entry(g)) for g in GROUPS),
        ),
    )
    yield Step(
        "weights",
        (
            ("MODIFY", make.group(2, {1: 3, 2: 1})),
            ("MODIFY", make.group(3, {1: 1, 2: 4, 3: 2})),
            ("MODIFY", make.group(4, {1: 2, 2: 2, 3: 3, 4: 1})),
        ),
    )
    yield Step(
        "a member leaves, its number is used again",
        (
            ("MODIFY", make.group(2, {2: 5})),
            ("MODIFY", make.group(3, {2: 1, 3: 1})),
            ("MODIFY", make.group(4, {2: 1, 3: 2, 4: 1})),
            ("MODIFY", make.group(5, {2: 1, 3: 1, 4: 1, 5: 1})),
            ("DELETE", make.member(1)),
            ("INSERT", make.member(9, port=PORTS[0])),
            ("MODIFY", make.group(3, {2: 1, 3: 1, 9: 2})),
            ("MODIFY", make.group(4, {2: 1, 3: 1, 4: 1, 9: 1})),
            ("MODIFY", make.group(5, {2: 1, 3: 1, 4: 1, 5: 3, 9: 1})),
        ),
    )
    yield Step(
        "weights shrink and others grow into the numbers given back",
        (
            ("MODIFY", make.group(2, {2: 1, 4: 1})),
            ("MODIFY", make.group(4, {2: 1, 3: 4, 4: 2, 9: 1})),
            ("MODIFY", make.group(5, {2: 1, 3: 1, 4: 2, 5: 1, 9: 6})),
            ("MODIFY", make.member(4, port=PORTS[4])),
            ("DELETE", make.entry(3)),
            ("DELETE", make.group(3, {})),
            ("INSERT", make.group(3, {5: 2, 9: 2, 2: 2})),
            ("INSERT", make.entry(3)),
        ),
    )
    # BMv2 refuses to watch a port for a member that is in the group already: make them again.
    watched = (
        *(("DELETE", make.entry(g)) for g in GROUPS),
        *(("DELETE", make.group(g, {})) for g in GROUPS),
        ("MODIFY", make.member(4, port=PORTS[3])),
        ("INSERT", make.group(2, {2: 1, 4: 1}, watch={2: PORTS[1]})),
        ("INSERT", make.group(3, {5: 2, 9: 2, 4: 2})),
        ("INSERT", make.group(4, {2: 1, 3: 4, 4: 2, 9: 1}, watch={3: PORTS[2], 2: PORTS[1]})),
        ("INSERT", make.group(5, {2: 1, 3: 1, 4: 1, 5: 1, 9: 1}, watch={2: PORTS[1], 3: PORTS[2]})),
        *(("INSERT", make.entry(g)) for g in GROUPS),
    )
    yield Step("watch ports, all up", watched)
    yield Step("two ports go down", down=(PORTS[1], PORTS[2]))
    yield Step(
        "a group changes while a port that it watches is down",
        (
            (
                "MODIFY",
                make.group(5, {2: 1, 3: 2, 4: 1, 5: 2, 9: 1}, watch={2: PORTS[1], 3: PORTS[2]}),
            ),
        ),
    )
    yield Step("one port comes back", up=(PORTS[1],))
    yield Step("the other one too", up=(PORTS[2],))
    everything = (
        *(("DELETE", make.entry(g)) for g in GROUPS),
        *(("DELETE", make.group(g, {})) for g in GROUPS),
        *(("DELETE", make.member(id_)) for id_ in (2, 3, 4, 5, 9)),
    )
    yield Step(
        "action sets instead of members and groups",
        (*everything, *(("INSERT", make.one_shot(g, PORTS[:g])) for g in GROUPS)),
    )
    yield Step(
        "action sets with weights, modified and inserted again",
        (
            ("MODIFY", make.one_shot(3, PORTS[2:], (2, 1, 3))),
            ("DELETE", make.one_shot(2, ())),
            ("MODIFY", make.one_shot(5, PORTS, (1, 2, 1, 2, 1))),
            ("INSERT", make.one_shot(2, PORTS[:2][::-1], (1, 4))),
            ("MODIFY", make.one_shot(4, (*PORTS[1:4], PORTS[1]))),
        ),
    )
    yield Step(
        "a watched action of a set is down",
        (("MODIFY", make.one_shot(4, PORTS[:4], watch={PORTS[0]: PORTS[0]})),),
        down=(PORTS[0],),
        groups=(4,),
    )
    yield Step("and up again", up=(PORTS[0],))


@dataclass(slots=True)
class _Maker:
    names: Names
    profile: int = field(init=False)

    def __post_init__(self) -> None:
        self.profile = self.names.profiles[PROFILE]

    def action(self, port: int) -> p4r.Action:
        return self.names.action("send_to", {"port": port.to_bytes(1, "big")})

    def member(self, id_: int, port: int = 0) -> p4r.ActionProfileMember:
        chosen = port or PORTS[min(id_ - 1, len(PORTS) - 1)]
        return p4r.ActionProfileMember(
            action_profile_id=self.profile, member_id=id_, action=self.action(chosen)
        )

    def group(
        self, id_: int, weights: dict[int, int], watch: dict[int, int] | None = None
    ) -> p4r.ActionProfileGroup:
        group = p4r.ActionProfileGroup(action_profile_id=self.profile, group_id=id_)
        for member, weight in weights.items():
            item = group.members.add(member_id=member, weight=weight)
            if watch and member in watch:
                item.watch_port = watch[member].to_bytes(1, "big")
        return group

    def entry(self, group: int) -> p4r.TableEntry:
        mac = b"\x02\x00\x00\x00\x01" + bytes([group])
        entry = self.names.entry("routes", {"mac": exact(mac)})
        entry.action.action_profile_group_id = group
        return entry

    def one_shot(
        self,
        group: int,
        ports: tuple[int, ...],
        weights: tuple[int, ...] = (),
        watch: dict[int, int] | None = None,
    ) -> p4r.TableEntry:
        entry = self.entry(group)
        entry.action.action_profile_action_set.SetInParent()
        for place, port in enumerate(ports):
            weight = weights[place] if weights else 1
            item = entry.action.action_profile_action_set.action_profile_actions.add(weight=weight)
            item.action.CopyFrom(self.action(port))
            if watch and port in watch:
                item.watch_port = watch[port].to_bytes(1, "big")
        return entry


# -- recording, on BMv2 ----------------------------------------------------------------------------


async def _record(wires: dict[int, Wire], address: str, link: Callable[[int, str], None]) -> Any:
    recorded = []
    async with connected(address) as client:
        client.names = Names(streams_config().p4info)
        await client.become_primary()
        await client.push(streams_config())
        for step in steps():
            try:
                await client.write(*step.updates)
            except grpc.aio.AioRpcError as error:
                sys.exit(f"{step.name}: {batch_errors(error)}")
            for port in step.down:
                link(port, "down")
            for port in step.up:
                link(port, "up")
            if step.down or step.up:
                await asyncio.sleep(1)  # BMv2 looks at the links' states now and then
            chosen = {str(group): _send_all(wires, frames(group)) for group in step.groups}
            recorded.append({"step": step.name, "ports": chosen})
            print(f"{step.name}: {[''.join(c)[:20] for c in chosen.values()]}", file=sys.stderr)
    return recorded


def _send_all(wires: dict[int, Wire], sent: list[bytes]) -> str:
    """The port by which each frame left, one digit each; "-" for none."""
    by_fd = {wire.sock.fileno(): port for port, wire in wires.items() if port != IN_PORT}
    poll = select.poll()
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    ports = []
    for frame in sent:
        wires[IN_PORT].send(frame)
        port = "-"
        while port == "-" and (ready := poll.poll(200)):
            for fd, _event in ready:
                if wires[by_fd[fd]].receive(0.1) == frame:
                    port = str(by_fd[fd])
        ports.append(port)
    return "".join(ports)


@contextlib.asynccontextmanager
async def _bmv2(directory: str) -> AsyncIterator[str]:
    address = f"unix:{directory}/p4rt.sock"
    words = ["simple_switch_grpc", "--no-p4", "--device-id", "7", "-L", "off"]
    for port in (IN_PORT, *PORTS):
        words += ["-i", f"{port}@s{port}"]
    words += ["--thrift-port", "9191", "--", "--grpc-server-addr", address]
    # BMv2 reads the links' states from sysfs, which must be that of its own network namespace
    shell = f"mount -t sysfs sysfs /sys && exec {' '.join(words)}"
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", shell])  # noqa: ASYNC220
    try:
        await asyncio.sleep(3)
        assert process.poll() is None, "BMv2 did not start"
        yield address
    finally:
        process.terminate()
        process.wait(10)


def main() -> None:
    """Record on BMv2."""
    if shutil.which("simple_switch_grpc") is None:
        sys.exit("simple_switch_grpc (p4lang BMv2) is not on PATH")

    async def record(directory: str) -> None:
        wires = {port: Wire.open(f"h{port}") for port in (IN_PORT, *PORTS)}

        def link(port: int, state: str) -> None:
            ip("link", "set", f"h{port}", state)
            wires[port].sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)  # "network is down"

        async with _bmv2(directory) as address:
            recorded = await _record(wires, address, link)
        VECTORS.write_text(json.dumps(recorded, indent=1) + "\n")

    def body() -> None:
        for port in (IN_PORT, *PORTS):
            veth(f"s{port}", f"h{port}")
        with tempfile.TemporaryDirectory() as directory:
            asyncio.run(record(directory))

    in_namespace(body)
    print(f"{VECTORS} is written by {threading.current_thread().name}", file=sys.stderr)


def recorded_vectors(path: Path = VECTORS) -> list[dict[str, Any]]:
    """What BMv2 did, step by step."""
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return found


if __name__ == "__main__":
    main()
