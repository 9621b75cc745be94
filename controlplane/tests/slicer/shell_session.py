"""What a person types into p4runtime-shell, as a program for its own virtual environment.

`shell_session.py ADDRESS DEVICE_ID`. It prints a line after each step and waits for one before the
next, so that the test can do its part in between.
"""

import os
import sys
import traceback

import grpc
import p4runtime_sh.shell as sh
from p4runtime_sh.p4runtime import P4RuntimeWriteException

FRAME = bytes.fromhex("0200000000020200000000010800") + bytes.fromhex(
    "4500001c0000000040110000" + "0a0000010a000002" + "1000145100080000"
)


def step(text: str) -> None:
    print(text, flush=True)
    sys.stdin.readline()


def entry(cookie: str):  # type: ignore[no-untyped-def]
    made = sh.TableEntry("flow")(action="permit")
    made.match["ip_proto"] = "6&&&0xff"
    made.match["l4_dst"] = "80&&&0xffff"
    made.action["cookie"] = cookie
    made.priority = 10
    return made


def refused(what) -> str:  # type: ignore[no-untyped-def]
    try:
        what()
    except (P4RuntimeWriteException, grpc.RpcError) as error:
        return str(error)
    raise SystemExit("this should have been refused")


def main() -> None:
    address, device_id = sys.argv[1], int(sys.argv[2])

    def connect(high: int, low: int) -> None:
        sh.setup(
            device_id=device_id,
            grpc_addr=address,
            election_id=(high, low),
            role_name="slice/red/gold",
            verbose=False,
        )

    connect(1, 0)  # the shell's own default: 2^64
    tables = sorted(table.preamble.alias for table in sh.context.p4info.tables)
    fields = [
        field.name
        for table in sh.context.p4info.tables
        if table.preamble.alias == "flow"
        for field in table.match_fields
    ]
    step(f"p4info {tables} {'slice_id' in fields}")

    entry("7").insert()
    step("inserted")
    entry("8").modify()
    found = list(sh.TableEntry("flow").read())
    value = int.from_bytes(found[0].action["cookie"].value, "big")
    step(f"modified {len(found)} {value}")
    counted = list(sh.DirectCounterEntry("flow_counter").read())
    step(f"counted {len(counted)} {counted[0].packet_count}")
    cell = sh.CounterEntry("drops")
    cell.index = 13
    step(f"drops {[one.packet_count for one in cell.read()]}")

    forward = sh.TableEntry("slice_forward")(action="forward")
    forward.match["path_class"] = "0"
    forward.match["eth_dst"] = "02:00:00:00:00:01"
    forward.action["next_hop"] = "3"
    forward.action["cookie"] = "0"
    step(f"refused {'next hop 0x3' in refused(forward.insert)}")
    forward.action["next_hop"] = "0x10002"
    forward.insert()
    step("forwarding")

    packets: list[object] = []
    sniffer = sh.PacketIn()
    print("sniffing", flush=True)
    sniffer.sniff(packets.append, timeout=3)
    step(f"packet-ins {len(packets)} {packets[0].packet.payload == FRAME}")  # type: ignore[attr-defined]
    packet = sh.PacketOut(payload=FRAME)
    packet.metadata["port"] = "2"
    packet.metadata["as_ingress"] = "0"
    packet.send()
    step("packet-out")

    step("waiting for a rival")
    step(f"rivalled {'not the primary' in refused(entry('9').modify)}")
    sh.teardown()
    connect(1, 2)
    entry("9").modify()
    step("primary again")
    for one in [*sh.TableEntry("flow").read(), *sh.TableEntry("slice_forward").read()]:
        one.delete()
    step("deleted")
    sh.teardown()


if __name__ == "__main__":
    try:
        main()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        sys.stdout.flush()
        os._exit(1)  # the shell's threads would keep the process
    os._exit(0)
