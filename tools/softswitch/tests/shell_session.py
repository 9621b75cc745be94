"""What p4runtime-shell does in its test; runs in the shell's own environment.

`python shell_session.py HOST:PORT P4INFO JSON`: says `done` when everything is as it should be.
"""

import os
import sys
import traceback

import p4runtime_sh.shell as sh  # type: ignore[import-not-found]
from p4runtime_sh.p4runtime import P4RuntimeWriteException  # type: ignore[import-not-found]


def tables() -> None:
    """Entries, counters and filters."""
    entry = sh.TableEntry("exact_table")(action="forward")
    entry.match["dst"] = "02:00:00:00:00:01"
    entry.match["port"] = "1"
    entry.action["port"] = "5"
    entry.insert()
    entry.action["port"] = "6"
    entry.modify()
    (found,) = list(sh.TableEntry("exact_table").read())
    assert 'value: "\\\\x06"' in str(found), found
    ternary = sh.TableEntry("acl_table")(action="label")
    ternary.match["label"] = "3"
    ternary.match["src"] = "02:00:00:00:00:00&&&ff:ff:ff:00:00:00"
    ternary.action["value"] = "10"
    ternary.action["index"] = "1"
    ternary.priority = 7
    ternary.insert()
    prefix = sh.TableEntry("lpm_table")(action="forward")
    prefix.match["address"] = "10.0.0.0/8"
    prefix.action["port"] = "1"
    prefix.insert()
    default = sh.TableEntry("acl_table")(action="drop", is_default=True)
    default.modify()
    direct = sh.DirectCounterEntry("exact_counter")
    direct.table_entry.match["dst"] = "02:00:00:00:00:01"
    direct.table_entry.match["port"] = "1"
    direct.packet_count = 4
    direct.modify()
    assert [c.packet_count for c in sh.DirectCounterEntry("exact_counter").read()] == [4]
    cell = sh.CounterEntry("cells")
    cell.index = 3
    cell.packet_count = 9
    cell.modify()
    assert sum(c.packet_count for c in sh.CounterEntry("cells").read()) == 9
    for name in ("exact_table", "acl_table", "lpm_table"):
        sh.TableEntry(name).read(lambda one: one.delete())
        assert list(sh.TableEntry(name).read()) == []


def replication() -> None:
    """Multicast groups and clone sessions."""
    group = sh.MulticastGroupEntry(1)
    group.add(1, 1).add(2, 1)
    group.insert()
    (found,) = list(sh.MulticastGroupEntry().read())
    assert len(found.replicas) == 2, found
    group.delete()
    session = sh.CloneSessionEntry(1)
    session.add(1, 1)
    session.insert()
    assert len(list(sh.CloneSessionEntry().read())) == 1
    session.delete()


def refusals() -> None:
    """Errors are shown, entry by entry."""
    try:
        entry = sh.TableEntry("exact_table")(action="forward")
        entry.match["dst"] = "02:00:00:00:00:01"
        entry.match["port"] = "1"
        entry.action["port"] = "5"
        entry.delete()
    except P4RuntimeWriteException as error:
        assert "NOT_FOUND" in str(error), error
    else:
        raise AssertionError("a missing entry was deleted")


def main() -> None:
    """The session."""
    address, info, config = sys.argv[1:]
    sh.setup(
        device_id=7,
        grpc_addr=address,
        election_id=(0, 1),
        config=sh.FwdPipeConfig(info, config),
        verbose=False,
    )
    tables()
    replication()
    refusals()
    sh.teardown()
    print("done")


try:
    main()
finally:  # whatever happened: the shell's threads would keep the process
    sys.stdout.flush()
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
        os._exit(1)
