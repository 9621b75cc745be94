"""`python -m emulation.demo`: bring a network up, show with real traffic what holds, stay or exit.

Exit status: 0 when all checks passed, 1 otherwise. Without --once it stays up until Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfvisor.errors import DFVisorError
from dfvisor.model.description import load_network
from dfvisor.model.records import Network
from rich.console import Console

from emulation import daemons
from emulation.demo import accounts, channels, failures, live, metering, priority, reach, slices
from emulation.demo.board import Board
from emulation.demo.flows import BEST_EFFORT_PORT, choose
from emulation.demo.probes import Probes
from emulation.demo.readings import Readings
from emulation.demo.run import Run
from emulation.emulation import Emulation
from emulation.nodes import TOOL_TIMEOUT_S
from emulation.plan import switch_interface
from emulation.targets import Target

APPLY_DEADLINE_S = 60.0  # a softswitch compiles the pipeline when it gets it for the first time
TOOLS = ("ip", "ping", "iperf3", "tcpdump", "tshark", "ss", "setpriv")
ADDITION = "add-slice.yaml"  # beside the network description, if there is one


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m emulation.demo", description=__doc__)
    parser.add_argument("--target", type=Target, choices=list(Target), default=Target.SOFTSWITCH)
    parser.add_argument("--network", type=Path, default=Path("examples/demo.yaml"))
    parser.add_argument("--instance", default="demo", help="name of the namespaces [demo]")
    parser.add_argument("--once", action="store_true", help="exit when all has been shown")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)
    for number in (signal.SIGINT, signal.SIGTERM):  # a background job of a shell ignores SIGINT
        signal.signal(number, _interrupt)
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        console.print(f"missing programs: {', '.join(missing)}; `make deps` installs them")
        return 1
    try:
        return demonstrate(options, console)
    except DFVisorError as error:
        console.print(f"[bold red]failed:[/bold red] {error}", markup=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything is removed")
        return 130


def demonstrate(options: argparse.Namespace, console: Console) -> int:
    """The whole run; the exit status."""
    begin = time.monotonic()
    network = load_network(options.network)
    console.print(f"[bold]target: {options.target}[/bold]   network: {options.network}")
    with steps(console) as step:
        net = Emulation(network, instance=options.instance, target=options.target, report=step)
        net.start()
    board = Board(console)
    interrupted = False
    try:
        with Probes(net.hosts.values()) as probes:
            with Readings(net.zookeeper, sorted(net.switches)) as readings:
                with steps(console) as step:
                    step(f"dfvctl apply --wait {options.network}")
                    apply(net, readings, options.network)
                console.print(f"up after {time.monotonic() - begin:.1f} s")
                run = prepare(network, net, probes, readings, options.network.parent / ADDITION)
                show(run, board)
            board.verdict(options.target)
        console.print(f"\n{time.monotonic() - begin:.1f} s in all")
        if not options.once:
            stay(net, run, console)
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        with steps(console) as step:
            step("removing everything")
            net.stop(keep_logs=not board.passed and not interrupted)
    if not board.passed:
        console.print(f"logs: {net.instance.logs}")
    return 0 if board.passed else 1


def apply(net: Emulation, readings: Readings, file: Path) -> None:
    """Apply the whole network, and wait until every switch has it."""

    def command() -> None:
        net.dfvctl(
            "apply",
            "--wait",
            f"--timeout={APPLY_DEADLINE_S:g}",
            str(file),
            timeout_s=APPLY_DEADLINE_S + TOOL_TIMEOUT_S,
        )

    command()
    if len(readings.agents()) < len(net.switches):  # --wait waits for switches that are live
        net.wait_until(
            lambda: len(readings.agents()) == len(net.switches),
            "the agents of all switches",
            APPLY_DEADLINE_S,
        )
        command()


def prepare(
    network: Network, net: Emulation, probes: Probes, readings: Readings, addition: Path
) -> Run:
    """Decide what will be sent. `addition` may not exist, or not fit the network."""
    flows = choose(network, net.plan.hosts)
    free = next((flow.port for flow in flows if flow.best_effort), BEST_EFFORT_PORT)
    added = live.new_flow(network, net.plan.hosts, addition) if addition.exists() else None
    return Run(
        network=network,
        net=net,
        probes=probes,
        readings=readings,
        flows=flows,
        best_effort_port=free,
        ports=frozenset([free, *(f.port for f in flows), *([added.port] if added else [])]),
        addition=addition if added else None,
        added=added,
    )


def show(run: Run, board: Board) -> None:
    """All phases, in order. Each prints its table and puts its rows on the board."""
    run.listen()
    run.readings.stats_of(sorted(run.net.switches), after=0)
    start = accounts.read(run)
    phases: list[tuple[str, Callable[[], object]]] = [
        ("who reaches whom", lambda: reach.measure(run, board)),
        ("best effort", lambda: accounts.judge_best_effort(run, board, start)),
        ("paths, keys and first packets", lambda: slices.measure_paths(run, board)),
        ("throughput", lambda: slices.measure_throughput(run, board)),
        ("metering", lambda: metering.measure(run, board)),
        ("counters", lambda: accounts.judge_ports(run, board, start)),
        ("channels", lambda: channels.measure(run, board)),
        *(
            [("a slice added and deleted live", lambda: live.measure(run, board))]
            if run.added
            else []
        ),
        ("strict priority", lambda: priority.measure(run, board)),
        ("failures: VN controllers, then ZooKeeper", lambda: failures.measure(run, board)),
    ]
    with steps(board.console) as step:
        for name, measure in phases:
            step(name)
            try:
                run.net.check()
                measure()
            except DFVisorError as error:
                board.check(name, False, str(error))


def stay(net: Emulation, run: Run, console: Console) -> None:
    """Say what can be tried, and wait for Ctrl-C."""
    tool = os.path.relpath(daemons.script("dfvctl"))
    lines = [f"export DFVISOR_ZOOKEEPER={net.zookeeper}", f"{tool} status", f"{tool} stats --watch"]
    if run.added and run.addition:
        lines += [
            f"{tool} apply --wait {run.addition}",
            f"{tool} delete slice {run.added.vn} {run.added.slice} --cascade --wait",
        ]
    lines += [
        *(f"{tool} history {vn}" for vn in sorted({flow.vn for flow in run.flows})[-1:]),
        f"{tool} latency",
        f"{tool} local {net.instance.directory}/*/*.sqlite",
    ]
    for flow in run.flows[:1]:
        start = net.host(flow.source_host)
        fabric = net.switch(start.plan.port.switch).plan.fabric_ports
        lines += [
            f"{tool} entries {start.plan.port.switch}",
            f"ip netns exec {start.namespace} ping {flow.ip}",
            *(
                f"ip netns exec {net.switch(start.plan.port.switch).namespace} "
                f"tcpdump -n -i {switch_interface(port)} proto gre"
                for port in fabric[:1]
            ),
        ]
    for flow in [flow for flow in run.flows if not flow.best_effort][:1]:
        switch = net.host(flow.source_host).plan.port.switch
        lines.append(f"make shell SWITCH={switch} SLICE={flow.name}")
    console.print("\n[bold]It stays up until Ctrl-C.[/bold] In another terminal:")
    for line in lines:
        console.print(f"  {line}", soft_wrap=True)
    said: set[str] = set()
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
            for name in set(net.ended()) - said:
                console.print(f"{name} has ended (log: {net.log(name)})")
                said.add(name)


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], None]]:
    """A spinner with the current step; plain lines where the output is no terminal."""
    if not console.is_terminal:
        yield lambda text: console.print(f"... {text}")
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text} ...")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
