"""The command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from softswitch.rates import Rate
from softswitch.server.options import default_cache_dir, parse_options
from softswitch.server.ports import Port

PROJECT = (
    "--no-p4 --device-id 1 -i 1@veth0 -i 2@veth1 --thrift-port 9191 --log-console -L off "
    "-- --grpc-server-addr 127.0.0.1:9600 --cpu-port 510 --priority-queues 8 "
    "--max-l1-entries 9 --max-l2-entries 9"
)


def test_options_of_the_projects_command_line() -> None:
    options = parse_options(PROJECT.split())
    assert options.device_id == 1
    assert options.ports == (Port(1, "veth0"), Port(2, "veth1"))
    assert options.address == "127.0.0.1:9600"
    assert (options.log_level, options.log_console) == ("off", True)
    assert options.config is None
    assert [note.split()[0] for note in options.notes] == ["--thrift-port"]
    assert (options.cpu_port, options.rates) == (510, {})


def test_options_limit_the_rates_of_ports() -> None:
    line = "--no-p4 -i 1@a -i 2@b --port-rate 2=1000 --port-rate 2/7=10Mbps -- --port-rate 1=5kpps"
    options = parse_options(line.split())
    assert options.rates == {
        (1, None): Rate(5000),
        (2, None): Rate(1000),
        (2, 7): Rate(10_000_000, bits=True),
    }


def test_options_of_packets_over_grpc_leave_no_interfaces() -> None:
    line = "--no-p4 -i 1@a -- --dp-grpc-server-addr 127.0.0.1:9999 --bmv2-compat"
    options = parse_options(line.split())
    assert (options.packets_address, options.bmv2_compat) == ("127.0.0.1:9999", True)
    assert options.ports == ()
    assert options.notes[0].startswith("-i is ignored")
    plain = parse_options(["--no-p4"])
    assert (plain.packets_address, plain.bmv2_compat) == (None, False)


def test_options_with_another_number_of_queues_note_the_difference() -> None:
    (note,) = parse_options(["--no-p4", "--priority-queues", "4"]).notes
    assert "always 8" in note


def test_options_in_any_order_around_the_separator_are_the_same() -> None:
    groups = ["--no-p4 -i 0@a", "--grpc-server-addr unix:/x --priority-queues 8"]
    first = parse_options(f"{groups[0]} -- {groups[1]}".split())
    assert parse_options(f"{groups[1]} -- {groups[0]}".split()) == first
    assert parse_options(f"{groups[1]} {groups[0]}".split()) == first
    assert first.address == "unix:/x"


def test_options_with_a_config_file() -> None:
    assert parse_options(["prog.json"]).config == Path("prog.json")
    ignored = parse_options(["prog.json", "--no-p4"])
    assert ignored.config is None
    assert "prog.json is ignored" in ignored.notes[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "--no-p4"),
        ("--no-p4 -i veth0", "<port number>@<interface>"),
        ("--no-p4 -i x@veth0", "<port number>@<interface>"),
        ("--no-p4 -i 1@", "<port number>@<interface>"),
        ("--no-p4 -i 511@veth0", "0..510"),
        ("--no-p4 -i 1@a -i 1@b", "port number 1 is given twice"),
        ("--no-p4 -i 1@a -i 2@a", "port interface a is given twice"),
        ("--no-p4 --device-id -1", "--device-id"),
        ("--no-p4 --cpu-port 0", "above 0"),
        ("--no-p4 --cpu-port 511", "1..510"),
        ("--no-p4 -i 5@a --cpu-port 5", "also the port of an interface"),
        ("--no-p4 -i 5@a --port-rate 6=1", "no port 6"),
        ("--no-p4 -i 5@a --port-rate 5=0", "expected"),
        ("--no-p4 -i 5@a --port-rate 5/8=1", "queue, expected 0..7"),
        ("--no-p4 -i 5@a --port-rate 5=off", "expected"),
        ("--no-p4 -i 5@a --port-rate 5=1kg", "expected"),
        ("--no-p4 -i 5@a --port-rate 5", "expected"),
        ("--no-p4 --device-id x", "64 bits"),
        ("--no-p4 --priority-queues 0", "above 0"),
        ("--no-p4 --drop-port 510", "only 511"),
        ("--no-p4 -L loud", "invalid choice"),
        ("--no-p4 --pcap", "expected one argument"),
        ("--compile-only", "--no-p4"),
        ("--compile-only --no-p4", "takes a BMv2 JSON file"),
        ("--compile-only --no-p4 x.json", "takes a BMv2 JSON file"),
    ],
)
def test_options_misuse_exits_2_and_says_why(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(line.split())
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cache", "home", "expected"),
    [
        ("/c", "/tmp", "/c/dfvisor/softswitch"),
        ("", "/tmp", "/tmp/.cache/dfvisor/softswitch"),
        ("relative", "/tmp", "/tmp/.cache/dfvisor/softswitch"),
        ("", "/nonexistent-home", "/var/cache/dfvisor/softswitch"),
    ],
)
def test_default_cache_dir_follows_the_environment(
    monkeypatch: pytest.MonkeyPatch, cache: str, home: str, expected: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", home)
    assert str(default_cache_dir()) == expected
