"""`dfvctl`: the command line. Thin: reads arguments, calls, prints, and chooses the exit code.

Exit codes: 0 done; 1 refused or not done (the reason is on standard error); 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Group
from rich.live import Live

from dfvisor.cli import counters, remove
from dfvisor.cli import get as getting
from dfvisor.cli.access import access_app
from dfvisor.cli.change import (
    Refused,
    Written,
    plan_description,
    plan_network,
    write_fabric,
    write_grants,
    write_vn,
)
from dfvisor.cli.difference import Line, Outcome, fabric_lines, grant_lines, vn_lines
from dfvisor.cli.disable import disabled
from dfvisor.cli.drain import drained
from dfvisor.cli.history import difference_lines, history_table, newest
from dfvisor.cli.history import revision as at_revision
from dfvisor.cli.latency import latency_table
from dfvisor.cli.local import show_local
from dfvisor.cli.output import Output, complain, console, dump, say, table
from dfvisor.cli.pki import pki_app
from dfvisor.cli.session import DEFAULT_ZOOKEEPER, configure
from dfvisor.cli.session import run as _run
from dfvisor.cli.status import read_status, show_status
from dfvisor.cli.transfer import export_command, import_command
from dfvisor.cli.wait import expectations, wait_applied
from dfvisor.errors import DescriptionError, DFVisorError
from dfvisor.model.description import Description, load, plan
from dfvisor.model.jsonschema import json_schema
from dfvisor.model.records import Network
from dfvisor.p4rt.inspect import read_entries
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import SwitchStats

WATCH_INTERVAL_S = 1.0
LISTED = 40  # records listed per outcome; the rest is counted

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Describe, change and watch a DFVisor network.",
)
delete_app = typer.Typer(no_args_is_help=True, help="Delete a record that nothing refers to.")
app.add_typer(delete_app, name="delete")
app.add_typer(pki_app, name="pki")
app.add_typer(access_app, name="access")
app.command("export")(export_command)
app.command("import")(import_command)

Wait = Annotated[
    bool, typer.Option("--wait", help="Return when the live switches have applied it.")
]
Timeout = Annotated[float, typer.Option("--timeout", help="Seconds to wait for that.", min=0)]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="Form of the output.")]
File = Annotated[Path, typer.Argument(help="A network description: YAML, or JSON in *.json.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the history.")]
Revision = Annotated[int, typer.Argument(metavar="REVISION", min=1)]
VnName = Annotated[str, typer.Argument(metavar="VN")]
Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.callback()
def _options(
    zookeeper: Annotated[
        str | None,
        typer.Option(
            envvar="DFVISOR_ZOOKEEPER",
            metavar="HOST:PORT[,...]/CHROOT",
            help="The global database.",
            show_default=DEFAULT_ZOOKEEPER,
        ),
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            envvar="DFVISOR_CREDENTIALS",
            metavar="FILE",
            help="Credentials for the global database, and perhaps where it is.",
        ),
    ] = None,
) -> None:
    configure(zookeeper, credentials)


# -- apply, check


@app.command()
def apply(file: File, wait: Wait = False, timeout: Timeout = 30.0, why: Why = "") -> None:
    """Write a description into the database: its records replace those of the same name."""
    description = load(file)
    _run(lambda db: _apply(db, description, wait, timeout, why))


async def _apply(
    db: GlobalDatabase, description: Description, wait: bool, timeout_s: float, why: str
) -> None:
    snapshot = await db.read_network()
    network = plan_description(snapshot, description)
    old = snapshot.network
    written = Written()
    lines = [line for line in fabric_lines(old, network) if _mentions(description, line)]
    if lines:
        written.fabric = await write_fabric(db, snapshot, network)
        _print_lines(lines, f"fabric: revision {written.fabric}")
    lines = [line for line in grant_lines(old, network) if _mentions(description, line)]
    if lines:
        await write_grants(db, snapshot, network)
        _print_lines(lines, "grants")
    for name in description.vns:
        written.vns[name] = await write_vn(db, snapshot, network, name, why)
        if name in old.vns:
            written.before[name] = old.vns[name]
        _print_lines(
            vn_lines(old.vns.get(name), network.vns[name]),
            f"vn {name}: revision {written.vns[name]}",
        )
    if wait:
        await _wait(db, network, written, timeout_s)


def _mentions(description: Description, line: Line) -> bool:
    """Whether the file says anything about a record of the provider's part."""
    kind, name = line.record.split(" ", 1)
    if kind == "link":
        return bool(description.links)
    named: dict[str, Collection[str]] = {
        "switch": description.switches,
        "peer": description.peers,
        "tenant": description.tenants,
        "grant": description.grants,
    }
    return name in named[kind]


def _print_lines(lines: Sequence[Line], head: str) -> None:
    say(head)
    for outcome in (Outcome.CREATED, Outcome.CHANGED, Outcome.DELETED, Outcome.UNCHANGED):
        found = [line for line in lines if line.outcome is outcome]
        for line in found[:LISTED]:
            say(f"  {outcome.value:<9} {line.record}")
        if len(found) > LISTED:
            say(f"  {outcome.value:<9} ... and {len(found) - LISTED} more")


async def _wait(db: GlobalDatabase, network: Network, written: Written, timeout_s: float) -> None:
    missing, absent = await wait_applied(db, expectations(network, written), timeout_s)
    for switch in absent:
        complain(f"{switch}: its agent is not live; not waited for")
    if missing:
        raise Refused("not applied in time:\n" + "\n".join(f"  {reason}" for reason in missing))
    say("applied")


@app.command()
def check(
    file: File,
    against_database: Annotated[
        bool, typer.Option(help="Check what the database would hold with this file in it.")
    ] = False,
) -> None:
    """Find all mistakes of a description; nothing is written."""
    description = load(file)
    if against_database:

        async def against(db: GlobalDatabase) -> Network:
            return plan_description(await db.read_network(), description)

        network = _run(against)
    else:
        network = plan(Network(), description)
    flowspaces = sum(len(vn.flowspaces) for vn in network.vns.values())
    say(
        f"{file}: fine ({len(network.fabric.switches)} switches, {len(network.vns)} virtual "
        f"networks, {flowspaces} flowspaces)"
    )


# -- history


@app.command()
def history(vn: VnName) -> None:
    """Print who made the revisions of a virtual network, when and why; the last ones are kept."""

    async def work(db: GlobalDatabase) -> None:
        entries = await db.read_history(vn)
        if not entries:
            raise Refused(f"there never was a virtual network {vn!r}")
        console().print(history_table(entries))

    _run(work)


@app.command()
def diff(
    vn: VnName,
    old: Revision,
    new: Annotated[
        int | None, typer.Argument(metavar="[REVISION]", min=1, help="Without it: the newest.")
    ] = None,
) -> None:
    """Print what is other in a later revision of a virtual network."""

    async def work(db: GlobalDatabase) -> None:
        after = (await newest(db, vn)).vn if new is None else await at_revision(db, vn, new)
        for line in difference_lines(await at_revision(db, vn, old), after):
            say(line)

    _run(work)


@app.command()
def rollback(
    vn: VnName, revision: Revision, wait: Wait = False, timeout: Timeout = 30.0, why: Why = ""
) -> None:
    """Make a virtual network what it was at an earlier revision: by a new one."""

    async def work(db: GlobalDatabase) -> None:
        wanted = await at_revision(db, vn, revision)
        snapshot = await db.read_network()
        if vn not in snapshot.vns:
            raise Refused(f"virtual network {vn!r} cannot be read: {snapshot.bad.get(vn)}")
        old = snapshot.vns[vn]
        network = replace(snapshot.network, vns=snapshot.network.vns | {vn: wanted})
        plan_network(snapshot, network)
        reason = f"rollback to {revision}" + (f": {why}" if why else "")
        written = Written(vns={vn: await write_vn(db, snapshot, network, vn, reason)})
        written.before[vn] = old.vn
        _print_lines(vn_lines(old.vn, wanted), f"vn {vn}: revision {written.vns[vn]}")
        if wait:
            await _wait(db, network, written, timeout)

    _run(work)


@app.command()
def schema() -> None:
    """Print the JSON Schema of network descriptions, by which editors complete and check them."""
    dump(json_schema(), Output.JSON)


# -- get, status, stats, entries


@app.command()
def get(
    kind: Annotated[getting.Kind, typer.Argument()] = getting.Kind.ALL,
    name: Annotated[str | None, typer.Argument(help="Of the VN, for `get vn`.")] = None,
    vn: Annotated[str | None, typer.Option(help="Only this virtual network's records.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print records of the database; as YAML or JSON they are a description again."""
    if name is not None and kind is not getting.Kind.VN:
        raise typer.BadParameter("a name goes with `get vn` only; use --vn")

    async def work(db: GlobalDatabase) -> None:
        snapshot = await db.read_network()
        getting.show(snapshot.network, kind, name or vn, output)
        for bad, reason in sorted(snapshot.bad.items()):
            complain(f"vns.{bad}: {reason}")

    _run(work)


@app.command()
def status() -> None:
    """Print live agents, the revisions that each switch has applied, and the VNs' leaders."""
    show_status(_run(read_status))


@app.command()
def local(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Of agents or VNCs.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print what local databases hold, of which revision, and how old it is."""
    show_local(files, output)


@app.command()
def latency(
    vn: Annotated[str | None, typer.Option(help="Only this virtual network.")] = None,
    per_switch: Annotated[bool, typer.Option("--per-switch", help="Each switch alone.")] = False,
) -> None:
    """Print how long changes took from their commit to each stage at the switches, per slice."""

    async def work(db: GlobalDatabase) -> None:
        names = sorted((await db.read_fabric()).fabric.switches)
        found = await asyncio.gather(*(db.read_stats(name) for name in names))
        reading = {name: stats for name, stats in zip(names, found, strict=True) if stats}
        console().print(latency_table(reading, vn, per_switch))

    _run(work)


@app.command()
def stats(
    vn: Annotated[str | None, typer.Option(help="Only this virtual network.")] = None,
    switch: Annotated[str | None, typer.Option(help="Only this switch.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, with rates.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the counters that the switches' agents pushed into the database."""

    async def read(db: GlobalDatabase) -> dict[str, SwitchStats]:
        fabric = await db.read_fabric()
        names = [switch] if switch else sorted(fabric.fabric.switches)
        found = await asyncio.gather(*(db.read_stats(name) for name in names))
        reading = {name: stats for name, stats in zip(names, found, strict=True) if stats}
        if switch and not reading:
            raise Refused(f"nothing was reported of switch {switch!r}")
        return counters.filtered(reading, vn)

    async def once(db: GlobalDatabase) -> None:
        reading = await read(db)
        if output is not Output.TABLE:
            dump(counters.plain(reading), output)
            return
        for made in counters.tables(reading):
            console().print(made)

    async def forever(db: GlobalDatabase) -> None:
        before = await read(db)
        out = console()
        with Live(console=out, auto_refresh=False) if out.is_terminal else nullcontext() as live:
            while True:
                await asyncio.sleep(WATCH_INTERVAL_S)
                reading = await read(db)
                shown = Group(*counters.tables(reading, before))
                if live is None:
                    out.print(shown)
                    sys.stdout.flush()
                else:
                    live.update(shown, refresh=True)
                before = reading

    with suppress(KeyboardInterrupt):  # the way to end --watch
        _run(forever if watch else once)


@app.command()
def entries(switch: Annotated[str, typer.Argument(metavar="SWITCH")]) -> None:
    """Print the table entries of a switch, read from the switch itself."""

    async def work(db: GlobalDatabase) -> None:
        agents = await db.read_agents()
        if switch not in agents:
            live = ", ".join(sorted(agents)) or "none"
            raise Refused(f"switch {switch!r} has no live agent; live are: {live}")
        info = agents[switch]
        rows = await read_entries(info.switch_address, info.device_id)
        columns = ("table", "match", "priority", "action", "packets", "bytes")
        console().print(
            table(
                "",
                columns,
                [(r.table, r.match, r.priority or "", r.action, r.packets, r.bytes) for r in rows],
                right=("priority", "packets", "bytes"),
            )
        )

    _run(work)


# -- delete


def _delete(
    change: Callable[[Network], Network],
    record: str,
    vn: str | None,
    wait: bool,
    timeout_s: float,
    why: str,
) -> None:
    """Write the network that `change` makes; `vn` is the VN changed, None the provider's part."""

    async def work(db: GlobalDatabase) -> None:
        snapshot = await db.read_network()
        network = change(snapshot.network)
        plan_network(snapshot, network)
        written = Written()
        if network.grants != snapshot.grants:
            await write_grants(db, snapshot, network)
            say(f"deleted {record}")
        elif vn is None:
            written.fabric = await write_fabric(db, snapshot, network)
            say(f"deleted {record}; fabric: revision {written.fabric}")
        elif vn in network.vns:
            written.vns[vn] = await write_vn(db, snapshot, network, vn, why or f"delete {record}")
            written.before[vn] = snapshot.vns[vn].vn
            say(f"deleted {record}; vn {vn}: revision {written.vns[vn]}")
        else:
            await db.delete_vn(snapshot.vns[vn], why)
            written.deleted.add(vn)
            say(f"deleted {record}")
        if wait:
            await _wait(db, network, written, timeout_s)

    _run(work)


def _drain(name: str, wanted: bool, wait: bool, timeout_s: float) -> None:
    async def work(db: GlobalDatabase) -> None:
        snapshot = await db.read_network()
        network = drained(snapshot.network, name, wanted)
        plan_network(snapshot, network)
        written = Written(fabric=await write_fabric(db, snapshot, network))
        say(f"{name} is {'' if wanted else 'not '}drained; fabric: revision {written.fabric}")
        if wait:
            await _wait(db, network, written, timeout_s)

    _run(work)


@app.command()
def drain(
    name: Annotated[str, typer.Argument(metavar="SWITCH|LINK", help="Such as s3, or s1:1-s3:1.")],
    wait: Wait = False,
    timeout: Timeout = 30.0,
) -> None:
    """Move traffic away from a switch or link, without loss; what has no other way stays."""
    _drain(name, True, wait, timeout)


@app.command()
def undrain(
    name: Annotated[str, typer.Argument(metavar="SWITCH|LINK", help="Such as s3, or s1:1-s3:1.")],
    wait: Wait = False,
    timeout: Timeout = 30.0,
) -> None:
    """Let a drained switch or link carry traffic again."""
    _drain(name, False, wait, timeout)


def _disable(vn: str, name: str, wanted: bool, wait: bool, timeout_s: float, why: str) -> None:
    async def work(db: GlobalDatabase) -> None:
        snapshot = await db.read_network()
        network = disabled(snapshot.network, vn, name, wanted)
        plan_network(snapshot, network)
        said = f"{'disable' if wanted else 'enable'} slice {vn}/{name}"
        written = Written(before={vn: snapshot.vns[vn].vn})
        written.vns[vn] = await write_vn(db, snapshot, network, vn, why or said)
        say(f"{said}; vn {vn}: revision {written.vns[vn]}")
        if wait:
            await _wait(db, network, written, timeout_s)

    _run(work)


@app.command()
def disable(
    vn: VnName, name: Name, wait: Wait = False, timeout: Timeout = 30.0, why: Why = ""
) -> None:
    """Have a slice not run for now: its traffic is best effort, its controllers are cut off."""
    _disable(vn, name, True, wait, timeout, why)


@app.command()
def enable(
    vn: VnName, name: Name, wait: Wait = False, timeout: Timeout = 30.0, why: Why = ""
) -> None:
    """Have a disabled slice run again."""
    _disable(vn, name, False, wait, timeout, why)


@delete_app.command("vn")
def delete_vn(name: Name, wait: Wait = False, timeout: Timeout = 30.0, why: Why = "") -> None:
    """A virtual network with all in it: its traffic stops."""

    async def unreadable(db: GlobalDatabase) -> bool:
        snapshot = await db.read_network()
        if name in snapshot.bad:
            await db.delete_unreadable_vn(name, why)
            say(f"deleted vn {name}, which could not be read")
            if wait:
                await _wait(db, snapshot.network, Written(deleted={name}), timeout)
        return name in snapshot.bad

    if _run(unreadable):
        return
    _delete(
        lambda network: remove.without_vn(network, name), f"vn {name}", name, wait, timeout, why
    )


@delete_app.command("slice")
def delete_slice(
    vn: VnName,
    name: Name,
    cascade: Annotated[bool, typer.Option("--cascade", help="Its flowspaces, too.")] = False,
    wait: Wait = False,
    timeout: Timeout = 30.0,
    why: Why = "",
) -> None:
    """A slice above best effort: its traffic moves to the VN's best-effort slice."""
    _delete(
        lambda network: remove.without_slice(network, vn, name, cascade=cascade),
        f"slice {vn}/{name}",
        vn,
        wait,
        timeout,
        why,
    )


class _Inner(StrEnum):
    FLOWSPACE = "flowspace"
    ENDPOINT = "endpoint"
    PROFILE = "profile"


class _Provided(StrEnum):
    SWITCH = "switch"
    LINK = "link"
    PEER = "peer"
    TENANT = "tenant"
    GRANT = "grant"


def _add_inner(kind: _Inner, change: Callable[[Network, str, str], Network]) -> None:
    def command(
        vn: VnName, name: Name, wait: Wait = False, timeout: Timeout = 30.0, why: Why = ""
    ) -> None:
        record = f"{kind} {vn}/{name}"
        _delete(lambda network: change(network, vn, name), record, vn, wait, timeout, why)

    delete_app.command(kind.value, help=f"A {kind.value} of a virtual network.")(command)


def _add_provided(kind: _Provided, change: Callable[[Network, str], Network]) -> None:
    def command(name: Name, wait: Wait = False, timeout: Timeout = 30.0) -> None:
        _delete(lambda network: change(network, name), f"{kind} {name}", None, wait, timeout, "")

    delete_app.command(kind.value, help=f"A {kind.value}.")(command)


_add_inner(_Inner.FLOWSPACE, remove.without_flowspace)
_add_inner(_Inner.ENDPOINT, remove.without_endpoint)
_add_inner(_Inner.PROFILE, remove.without_profile)
_add_provided(_Provided.SWITCH, remove.without_switch)
_add_provided(_Provided.LINK, remove.without_link)
_add_provided(_Provided.PEER, remove.without_peer)
_add_provided(_Provided.TENANT, remove.without_tenant)
_add_provided(_Provided.GRANT, remove.without_grant)


def main(argv: Sequence[str] | None = None) -> None:
    """The entry point; exits."""
    try:
        app(args=None if argv is None else list(argv), prog_name="dfvctl")
    except DescriptionError as error:
        for problem in error.problems:
            place = f"{error.source}:{problem.line}: " if error.source else ""
            complain(f"{place}{problem.path}: {problem.message}")
        sys.exit(1)
    except DFVisorError as error:
        complain(f"dfvctl: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
