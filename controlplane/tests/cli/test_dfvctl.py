"""dfvctl against a real ZooKeeper, with agents that only report."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dfvisor.cli.main import main
from dfvisor.model.description import load_network, read
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import (
    AgentInfo,
    Applied,
    Counter,
    Drop,
    PortCounters,
    SwitchStats,
    VnApplied,
)

pytestmark = pytest.mark.zk

EXAMPLES = Path(__file__).parents[3] / "examples"
DEMO = str(EXAMPLES / "demo.yaml")
FOREIGN = str(EXAMPLES / "foreign-peer.yaml")
ADD_SLICE = str(EXAMPLES / "add-slice.yaml")

Ctl = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ctl(zookeeper: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ctl:
    """Run a command: exit code, standard output, standard error."""
    monkeypatch.setenv("DFVISOR_ZOOKEEPER", zookeeper)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        code = caught.value.code
        said = capfd.readouterr()
        assert isinstance(code, int | None)
        return code or 0, said.out, said.err

    return run


class Agents:
    """In a thread of their own: live agents that report each VN as applied, as far as told."""

    def __init__(self, address: str, switches: tuple[str, ...]) -> None:
        self._address = address
        self._switches = switches
        self.flows = True  # whether a VN controller completes flow entries
        self.stuck: dict[str, str] = {}  # switch -> error
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Agents:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        async with await GlobalDatabase.connect(self._address) as db:
            for number, switch in enumerate(self._switches, 1):
                info = AgentInfo(slicer=f"127.0.0.1:{number}", target="bmv2", pid=os.getpid())
                await db.register_agent(switch, info)
            while not self._stop.is_set():
                network = await db.read_network()
                for switch in self._switches:
                    await db.publish_applied(switch, self._applied(switch, network))
                self._ready.set()
                await asyncio.sleep(0.02)

    def _applied(self, switch: str, network: object) -> Applied:
        from dfvisor.store.database import NetworkSnapshot

        assert isinstance(network, NetworkSnapshot)
        error = self.stuck.get(switch)
        return Applied(
            fabric=network.fabric.revision,
            vns={
                name: VnApplied(
                    revision=0 if error else vn.revision,
                    flows=vn.revision if self.flows else 0,
                    ways=network.fabric.revision if self.flows else 0,
                    error=error,
                    at=1.0,
                )
                for name, vn in network.vns.items()
            },
        )


@pytest.fixture
def agents(zookeeper: str) -> Iterator[Agents]:
    with Agents(zookeeper, ("s1", "s2", "s3", "s4")) as found:
        yield found


def test_apply_says_what_it_did_and_again_changes_nothing(ctl: Ctl) -> None:
    code, out, err = ctl("apply", DEMO)
    assert (code, err) == (0, "")
    assert "fabric: revision 1" in out
    assert "vn red: revision 1" in out
    assert "  created   flowspace red/gold-tcp" in out
    code, out, _ = ctl("apply", DEMO)
    assert code == 0
    assert "vn red: revision 1" in out
    assert "created" not in out
    assert "  unchanged flowspace red/gold-tcp" in out


def test_get_as_yaml_and_json_is_the_description_again(ctl: Ctl, tmp_path: Path) -> None:
    ctl("apply", DEMO)
    for form in ("yaml", "json"):
        file = tmp_path / f"out.{form}"
        _, out, _ = ctl("get", "-o", form)
        file.write_text(out)
        assert load_network(file) == load_network(DEMO)
    _, out, _ = ctl("get", "vn", "red", "-o", "json")
    assert list(json.loads(out)["vns"]) == ["red"]
    _, out, _ = ctl("get", "endpoints", "--vn", "blue", "-o", "yaml")
    assert set(read(out).vns["blue"].endpoints) == {"b1", "b2", "b3"}


def test_slice_is_disabled_and_enabled_again(ctl: Ctl, agents: Agents) -> None:
    ctl("apply", DEMO)
    code, out, _ = ctl("disable", "red", "gold", "--wait")
    assert (code, out.startswith("disable slice red/gold; vn red: revision 2")) == (0, True)
    _, out, _ = ctl("get", "vn", "red", "-o", "json")
    assert json.loads(out)["vns"]["red"]["slices"]["gold"]["disabled"] is True
    code, _, err = ctl("disable", "red", "default")
    assert code != 0 and "best-effort slice" in err
    assert ctl("enable", "red", "gold")[0] == 0
    _, out, _ = ctl("get", "vn", "red", "-o", "json")
    assert "disabled" not in json.loads(out)["vns"]["red"]["slices"]["gold"]


def test_get_tables_name_every_record(ctl: Ctl) -> None:
    ctl("apply", DEMO)
    _, out, _ = ctl("get")
    for text in ("192.0.2.4", "s1:1-s2:1", "green", "70001", "02:00:00:00:09:02", "l4_dst=5201"):
        assert text in out
    for kind in ("switches", "links", "tenants", "vns", "slices", "flowspaces", "profiles"):
        code, out, _ = ctl("get", kind)
        assert code == 0
        assert out.strip()
    for text in ("20mbit/40mbit", "4mbit/8mbit", "1500", "punts/s"):
        assert text in ctl("get")[1]
    code, _, err = ctl("get", "vn", "rde")
    assert (code, err) == (1, "dfvctl: there is no virtual network 'rde'\n")


def test_peer_is_shown_and_deleted(ctl: Ctl, tmp_path: Path) -> None:
    ctl("apply", FOREIGN)
    _, out, _ = ctl("get", "peers")
    assert out.split()[-5:] == ["ovs", "192.0.2.100", "s2:9", "02:00:00:00:64:01", "1500"]
    assert "peer ovs" in ctl("get", "endpoints")[1]
    file = tmp_path / "peers.yaml"
    file.write_text(ctl("get", "peers", "-o", "yaml")[1])
    code, out, _ = ctl("apply", str(file))
    assert (code, "unchanged peer ovs" in out) == (0, True)
    code, _, err = ctl("delete", "peer", "ovs")
    assert (code, err) == (1, "dfvctl: peer ovs has endpoints lab/guest behind it\n")
    ctl("delete", "endpoint", "lab", "guest")
    code, out, _ = ctl("delete", "peer", "ovs")
    assert (code, out) == (0, "deleted peer ovs; fabric: revision 2\n")


def test_wrong_input_is_reported_by_line_and_nothing_is_written(ctl: Ctl, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        Path(DEMO).read_text().replace("slice: silver", "slice: slver").replace("5201", "66000")
    )
    code, out, err = ctl("apply", str(file))
    assert (code, out) == (1, "")
    lines = err.splitlines()
    assert len(lines) == 6
    assert all(line.startswith(f"{file}:") for line in lines)
    assert "vns.red.flowspaces.silver-tcp.slice: there is no slice 'slver'; did you mean" in err
    _, out, _ = ctl("get", "vns", "-o", "json")
    assert json.loads(out)["vns"] == {}


def test_check_needs_no_database_unless_told(ctl: Ctl) -> None:
    assert ctl("--zookeeper", "127.0.0.1:1/none", "check", DEMO)[0] == 0
    code, _, err = ctl("check", ADD_SLICE)
    assert code == 1
    assert "tenant is missing" in err
    ctl("apply", DEMO)
    assert ctl("check", "--against-database", ADD_SLICE)[0] == 0
    assert "bronze" not in ctl("get", "slices")[1]


def test_fragment_that_collides_with_the_database_is_refused(ctl: Ctl, tmp_path: Path) -> None:
    ctl("apply", DEMO)
    file = tmp_path / "more.yaml"
    file.write_text(
        "vns:\n  red:\n    slices:\n      new: {key: 80001, profile: gold}\n"
        "    endpoints:\n      e: {mac: '02:00:00:00:00:77', port: 's1:12'}\n"
    )
    code, _, err = ctl("apply", str(file))
    assert code == 1
    assert f"{file}:6: vns.red.endpoints.e.port: s1:12 is already the port of endpoint" in err
    assert "80001 is already the GRE key of slice" in err


def test_apply_waits_for_the_switches(ctl: Ctl, agents: Agents) -> None:
    code, out, err = ctl("apply", DEMO, "--wait", "--timeout", "10")
    assert (code, err) == (0, "")
    assert out.endswith("applied\n")
    assert ctl("apply", ADD_SLICE, "--wait")[0] == 0


def test_wait_names_who_has_not_and_why(ctl: Ctl, agents: Agents) -> None:
    agents.stuck = {"s3": "table slice is full"}
    agents.flows = False
    code, out, err = ctl("apply", DEMO, "--wait", "--timeout", "0.5")
    assert code == 1
    assert "vn red: revision 1" in out
    assert "s3: green: revision 0 applied, 1 wanted: table slice is full" in err
    assert "s1: red: flow entries of revision 0 complete, 1 wanted" in err
    assert "s2: green" not in err


def test_wait_without_any_agent_is_not_done(ctl: Ctl) -> None:
    code, _, err = ctl("apply", DEMO, "--wait", "--timeout", "0.2")
    assert code == 1
    assert "no switch has a live agent" in err


def test_wait_does_not_wait_for_a_switch_whose_agent_is_dead(ctl: Ctl, zookeeper: str) -> None:
    with Agents(zookeeper, ("s1", "s2", "s4")):
        code, _, err = ctl("apply", DEMO, "--wait", "--timeout", "10")
    assert (code, err) == (0, "s3: its agent is not live; not waited for\n")


def test_delete_slice_wants_cascade_and_never_the_best_effort_one(ctl: Ctl, agents: Agents) -> None:
    ctl("apply", DEMO)
    ctl("apply", ADD_SLICE)
    code, _, err = ctl("delete", "slice", "red", "bronze")
    assert code == 1
    assert "bronze-tcp, bronze-udp" in err
    code, out, _ = ctl("delete", "slice", "red", "bronze", "--cascade", "--wait")
    assert code == 0
    assert "vn red: revision 3" in out
    assert "bronze-tcp" not in ctl("get", "flowspaces")[1]
    assert ctl("delete", "slice", "red", "default", "--cascade")[0] == 1


def test_delete_vn_waits_until_no_switch_has_it(ctl: Ctl, agents: Agents) -> None:
    ctl("apply", DEMO, "--wait")
    assert ctl("delete", "vn", "red", "--wait")[0] == 0
    assert "red" not in ctl("get", "vns", "-o", "json")[1]
    assert ctl("delete", "tenant", "red", "--wait")[0] == 0
    code, _, err = ctl("delete", "vn", "red")
    assert code == 1
    assert "there is no virtual network named 'red'; there are: blue, green" in err


def test_delete_of_what_others_need_is_refused(ctl: Ctl) -> None:
    ctl("apply", DEMO)
    for arguments in (
        ("switch", "s1"),
        ("tenant", "red"),
        ("profile", "red", "gold"),
        ("link", "s1:1-s2:1"),
    ):
        code, _, err = ctl("delete", *arguments)
        assert (code, bool(err)) == (1, True), arguments
    for arguments in (
        ("flowspace", "red", "no-telnet"),
        ("endpoint", "red", "r3"),
        ("endpoint", "green", "g1"),
        ("vn", "green"),
        ("vn", "red"),
        ("vn", "blue"),
        ("link", "s1:1-s2:1"),
    ):
        assert ctl("delete", *arguments)[0] == 0, arguments
    assert load_network(DEMO).fabric.switches.keys() == {"s1", "s2", "s3", "s4"}
    assert "s1:1-s2:1" not in ctl("get", "links")[1]


def test_unreadable_vn_is_named_does_not_stop_others_and_can_be_deleted(
    ctl: Ctl, zookeeper: str
) -> None:
    ctl("apply", DEMO)

    async def spoil() -> None:
        async with await GlobalDatabase.connect(zookeeper) as db:
            await db._zk.set("/vns/blue/revision", b"nonsense")

    asyncio.run(spoil())
    code, _, err = ctl("get", "vns")
    assert (code, "vns.blue: /vns/blue/revision: bad record" in err) == (0, True)
    assert ctl("apply", ADD_SLICE)[0] == 0
    code, _, err = ctl("apply", DEMO)
    assert code == 1
    assert "vns.blue: cannot be read from the database" in err
    assert "bad record" in ctl("status")[1]
    assert ctl("delete", "vn", "blue")[0] == 0
    assert ctl("apply", DEMO)[0] == 0


def test_history_diff_and_rollback(ctl: Ctl, agents: Agents) -> None:
    assert ctl("history", "red")[0] == 1
    ctl("apply", DEMO, "--why", "the start")
    ctl("apply", ADD_SLICE, "--why", "more slices")
    ctl("delete", "flowspace", "red", "no-telnet")
    _, out, _ = ctl("history", "red")
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["revision", "1", "2", "3"]
    assert [" ".join(line[5:]) for line in lines[1:]] == [
        "-0 the start",
        "-0 more slices",
        "-1 delete flowspace red/no-telnet",
    ]
    code, out, _ = ctl("diff", "red", "1")
    assert code == 0
    assert "created   slice red/bronze\n" in out
    assert "deleted   flowspace red/no-telnet\n" in out
    assert ctl("diff", "red", "2", "2")[1] == ""
    _, out, _ = ctl("diff", "red", "3", "2")
    assert out.splitlines()[0] == "created   flowspace red/no-telnet"
    assert "  + treatment: deny" in out
    code, out, err = ctl("rollback", "red", "1", "--wait", "--why", "it was better")
    assert (code, err) == (0, "")
    assert "vn red: revision 4" in out
    assert "  deleted   slice red/bronze" in out
    assert ctl("diff", "red", "1", "4") == (0, "", "")
    assert "rollback to 1: it was better" in ctl("history", "red")[1]
    code, _, err = ctl("rollback", "red", "9")
    assert (code, "revision 9 is not kept" in err) == (1, True)
    ctl("delete", "vn", "red", "--why", "enough")
    assert ctl("history", "red")[1].split()[-1] == "enough"


def test_status_shows_agents_leaders_and_revisions(
    ctl: Ctl, agents: Agents, zookeeper: str
) -> None:
    ctl("apply", DEMO, "--wait")

    async def lead() -> str:
        async with await GlobalDatabase.connect(zookeeper) as db:
            await db.claim(await db.contend("red", "vnc-7", lambda: None))
            return await asyncio.to_thread(lambda: ctl("status")[1])

    out = asyncio.run(lead())
    lines = [line.split() for line in out.splitlines()]
    (s1,) = [line for line in lines if line[:2] == ["s1", "live"]]
    assert s1[3:5] == ["bmv2", "127.0.0.1:1"]
    assert re.fullmatch(r"\d+\.\ds", s1[2])
    assert any(line[:1] == ["red"] and "vnc-7" in line for line in lines)
    assert any(line[:4] == ["red", "s3", "1", "1"] and line[-1] == "ok" for line in lines)


def test_status_shows_senders_that_are_no_endpoint(ctl: Ctl, zookeeper: str) -> None:
    ctl("apply", DEMO)
    assert "no endpoint" not in ctl("status")[1]

    async def report() -> None:
        async with await GlobalDatabase.connect(zookeeper) as db:
            red = VnApplied(revision=1, learned={"02:00:00:00:00:77": 12})
            await db.publish_applied("s1", Applied(fabric=1, vns={"red": red}))

    asyncio.run(report())
    _, out, _ = ctl("status")
    assert out.split()[-4:] == ["red", "s1", "02:00:00:00:00:77", "s1:12"]


def test_stats_shows_what_was_pushed(ctl: Ctl, zookeeper: str) -> None:
    ctl("apply", DEMO)

    async def push() -> None:
        async with await GlobalDatabase.connect(zookeeper) as db:
            await db.publish_stats(
                SwitchStats(
                    switch="s1",
                    at=1.0,
                    counters=(
                        Counter(
                            table="flow", vn="red", kind="slice", name="gold", packets=7, bytes=70
                        ),
                        Counter(
                            table="flow", vn="blue", kind="slice", name="g", packets=8, bytes=80
                        ),
                    ),
                    drops=(Drop(vn="red", slice="gold", reason="no_next_hop", packets=9),),
                    ports=(PortCounters(port=3, rx_packets=11),),
                )
            )

    asyncio.run(push())
    _, out, _ = ctl("stats")
    assert all(word in out for word in ("slice gold", "no_next_hop", "ports", "blue"))
    _, out, _ = ctl("stats", "--vn", "blue", "--switch", "s1", "-o", "json")
    (counter,) = json.loads(out)["s1"]["counters"]
    assert (counter["packets"], json.loads(out)["s1"]["drops"]) == (8, [])
    assert ctl("stats", "--switch", "s2")[0] == 1


def test_entries_of_a_switch_without_agent_is_refused(ctl: Ctl) -> None:
    code, _, err = ctl("entries", "s1")
    assert (code, "has no live agent; live are: none" in err) == (1, True)


def test_unreachable_database_is_an_error_without_traceback(ctl: Ctl) -> None:
    code, _, err = ctl("--zookeeper", "127.0.0.1:1/x", "get")
    assert (code, err) == (
        1,
        "dfvctl: no ZooKeeper server answers at 127.0.0.1:1: Connection refused\n",
    )


@pytest.mark.parametrize("arguments", [("frobnicate",), ("apply",), ("get", "nonsense"), ()])
def test_wrong_usage_exits_2(ctl: Ctl, arguments: tuple[str, ...]) -> None:
    assert ctl(*arguments)[0] == 2


# -- grants

GRANT_RED = """
grants:
  red: {tenant: red, keys: [70000-70099], ports: {s1: [11-19], s2: [11], s4: [11]}, max_slices: 3}
"""


@pytest.fixture
def granted(ctl: Ctl, tmp_path: Path) -> Path:
    """The demo network, and a file with red's grant, which is applied."""
    assert ctl("apply", DEMO)[0] == 0
    file = tmp_path / "grants.yaml"
    file.write_text(GRANT_RED)
    code, out, _ = ctl("apply", str(file))
    assert code == 0 and "created   grant red" in out
    return file


def test_apply_outside_the_grant_is_refused_with_its_place(
    ctl: Ctl, granted: Path, tmp_path: Path
) -> None:
    code, _, err = ctl("apply", ADD_SLICE)
    assert code == 1
    assert "vns.red.slices: 4 slices, 3 granted" in err
    file = tmp_path / "more.yaml"
    file.write_text(
        'vns: {red: {endpoints: {x: {mac: "02:00:00:00:00:99", port: "s3:17"}}}}\n'
        "grants:\n  green: {tenant: green, keys: [70010]}\n"
    )
    code, _, err = ctl("apply", str(file))
    assert code == 1
    assert f"{file}:1: vns.red.endpoints.x.port: s3:17 is outside the granted ports" in err
    assert f"{file}:3: grants.red.keys: 70000-70099 overlaps" in err or "70010 overlaps" in err


def test_grants_are_shown_and_deleted(ctl: Ctl, granted: Path) -> None:
    code, out, _ = ctl("get", "grants")
    assert code == 0 and "70000-70099" in out and "s1: 11-19, s2: 11, s4: 11" in out
    code, out, _ = ctl("get", "all", "-o", "json")
    assert list(json.loads(out)["grants"]) == ["red"]
    assert ctl("delete", "tenant", "red")[0] == 1
    code, out, _ = ctl("delete", "grant", "red")
    assert code == 0 and "deleted grant red" in out
    assert ctl("apply", ADD_SLICE)[0] == 0


def test_status_shows_why_a_switch_keeps_an_older_state(ctl: Ctl, zookeeper: str) -> None:
    """Also where the revision is the newest, as when the grant has become smaller since."""
    ctl("apply", DEMO)
    error = "vns.red.slices: 3 slices, 1 granted"

    async def report() -> str:
        async with await GlobalDatabase.connect(zookeeper) as db:
            await db.register_agent("s1", AgentInfo(slicer="127.0.0.1:1", target="bmv2", pid=1))
            red = VnApplied(revision=1, flows=1, error=error)
            await db.publish_applied("s1", Applied(fabric=1, vns={"red": red}))
            return await asyncio.to_thread(lambda: ctl("status")[1])

    assert error in asyncio.run(report())
