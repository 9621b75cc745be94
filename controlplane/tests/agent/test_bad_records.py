"""Records written past the command line: their VN keeps its last good state, all else goes on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import msgspec
import pytest
from dfvisor.cli.status import read_status, show_status
from dfvisor.model.records import UnknownUnicast
from dfvisor.store import layout
from dfvisor.store.codec import Revision, decode, encode
from dfvisor.store.pages import digest
from dfvisor.store.zk import ZooKeeper

from .networks import demo
from .rig import SWITCH, Rig, eventually

pytestmark = [pytest.mark.zk, pytest.mark.switch]

Spoil = Callable[[bytes], bytes]


def newer(page: bytes) -> bytes:
    return page.replace(b'"schema":1', b'"schema":2')


def oversized(page: bytes) -> bytes:
    """Well formed, far larger than any page, and with a record that no table can take."""
    found = msgspec.json.decode(page)
    endpoint = next(iter(found["endpoints"].values()))
    found["endpoints"] |= {f"x{n}": endpoint for n in range(5000)}
    return msgspec.json.encode(found)


@pytest.mark.parametrize(
    ("spoil", "signed", "message"),
    [
        (lambda page: page[:-20], False, "its content is not what the revision says"),
        (lambda page: page[:-20], True, "bad record"),
        (lambda _: os.urandom(200), True, "bad record"),
        (lambda _: b"", True, "bad record"),
        (newer, True, "schema is 2, newer than 1"),
        (oversized, True, "is already"),
        (lambda page: page.replace(b"permit", b"permti").replace(b"deny", b"dney"), True, "dney"),
    ],
    ids=["cut", "cut-signed", "noise", "empty", "newer-schema", "oversized", "unknown-word"],
)
async def test_bad_page_leaves_its_vn_as_it_was_and_is_named_in_status(
    rig: Rig, spoil: Spoil, signed: bool, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """`signed`: the revision says what the page holds, as a writer with a fault would."""
    assert rig.database is not None
    await rig.put(demo())
    zk = await ZooKeeper(rig.zookeeper).start()
    async with rig.agent():
        await rig.wait_until_equal(demo())
        data, _ = await zk.get(layout.revision("red"))
        record = decode(data, Revision, "red")
        ((prefix, (node, _)),) = record.pages.items()
        page, _ = await zk.get(layout.page("red", node))
        bad = spoil(page)
        await zk.create(layout.page("red", "9.bad-0"), bad)
        content = digest(bad) if signed else digest(page)
        changed = msgspec.structs.replace(
            record,
            revision=9,
            base=9,
            changes=("bad", *record.changes),
            pages={prefix: ("9.bad-0", content)},
        )
        await zk.set(layout.revision("red"), encode(changed))

        async def told() -> bool:
            assert rig.database is not None
            red = (await rig.database.read_applied())[SWITCH].vns["red"]
            return red.revision == 1 and message in (red.error or "")

        await eventually(told, "the error is reported")
        assert await rig.held() == rig.expected(demo()), "the switch is as it was"
        blue = demo().vns["blue"]
        blue = dataclasses.replace(blue, unknown_unicast=UnknownUnicast.FLOOD, flood_pps=7)
        written = await rig.database.apply(await rig.database.read_vn("blue"), blue)
        await rig.wait_until_applied("blue", written.revision)
        network = dataclasses.replace(demo(), vns=demo().vns | {"blue": blue})
        await rig.wait_until_equal(network)
        show_status(await read_status(rig.database))
        said = capfd.readouterr().out
        assert message in said, "the status names it"
        assert f"{SWITCH} " in said
        await zk.set(layout.revision("red"), data)

        async def well() -> bool:
            assert rig.database is not None
            return not (await rig.database.read_applied())[SWITCH].vns["red"].error

        await eventually(well, "all is well again")
        await rig.wait_until_equal(network)
    await zk.close()
