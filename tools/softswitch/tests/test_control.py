"""`softswitch ctl`: its socket, its words, and what a port does about them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from softswitch.rates import Rate, parse_place, parse_rate
from softswitch.server.control import Control, ask
from softswitch.server.ports import Port, PortHost

PORTS = (Port(1, "lo"), Port(2, "none"))


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("off", None),
        ("1000", Rate(1000)),
        ("1000pps", Rate(1000)),
        ("10k", Rate(10_000)),
        ("2Mbps", Rate(2_000_000, bits=True)),
        ("3Gbps", Rate(3_000_000_000, bits=True)),
    ],
)
def test_rate_is_read(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "k", "10m", "10Mb", "9223372036854775808"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["", "x", "1/", "/1", "1/8", "1/x", "-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_place(text)


def answer(host: PortHost, *words: str) -> dict[str, Any]:
    """What a request is answered."""
    return Control(host).answer(json.dumps(words).encode())


def test_rate_is_kept_for_the_pipelines_to_come() -> None:
    host = PortHost(PORTS)
    assert answer(host, "rate", "2/7", "10Mbps") == {"ok": None}
    assert answer(host, "rate", "1", "5") == {"ok": None}
    assert host.rates() == {(2, 7): Rate(10_000_000, bits=True), (1, None): Rate(5)}
    assert answer(host, "rate", "1", "off") == {"ok": None}
    assert host.rates() == {(2, 7): Rate(10_000_000, bits=True)}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("rate", "3", "5"), "no port 3"),
        (("rate", "1"), "not understood"),
        (("rate", "1", "fast"), "expected"),
        ((), "not understood"),
        (("stats",), "no pipeline"),
    ],
)
def test_request_that_makes_no_sense_says_why(words: Sequence[str], reason: str) -> None:
    assert reason in answer(PortHost(PORTS), *words)["error"]


@pytest.mark.parametrize("line", [b"", b"x", b"{}", b"[1]", b"\xff", b"[[]]"])
def test_line_that_is_no_request_is_answered_by_an_error(line: bytes) -> None:
    assert "error" in Control(PortHost(PORTS)).answer(line)


def test_socket_is_its_owners_and_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ctl"

    async def body() -> None:
        host = PortHost(PORTS)
        abandoned, control = Control(host), Control(host)
        await abandoned.start(path)
        assert abandoned._server is not None
        abandoned._server.close()  # as a process that was killed leaves it
        await control.start(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert await asyncio.to_thread(ask, [str(path), "rate", "1", "7"]) == (0, "")
        status, text = await asyncio.to_thread(ask, [str(path), "rate", "9", "7"])
        assert (status, "no port 9" in text) == (1, True)
        control.close()
        control.close()
        assert host.rates() == {(1, None): Rate(7)}

    asyncio.run(body())
    assert not path.exists()
    status, text = ask([str(path), "stats"])
    assert status == 1 and str(path) in text
    assert ask([])[0] == 2
