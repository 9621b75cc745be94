"""`python -m emulation.demo`: bring a network up, show with real traffic what holds, stay or exit.

Exit status: 0 when all checks passed, 1 otherwise. Without --once it stays up until Ctrl-C.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dfvisor.errors import DFVisorError
from dfvisor.model.description import load_network
from rich.console import Console

from emulation.demo import accounts, channels, failures, live, reach, slices
from emulation.demo.board import Board
from emulation.demo.flows import BEST_EFFORT_PORT, choose
from emulation.demo.probes import Probes
from emulation.demo.readings import Readings
from emulation.demo.run import Run
from emulation.emulation import AGENT_DEADLINE_S, Emulation
from emulation.targets import Target

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
    signal.signal(signal.SIGTERM, _interrupt)
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
    try:
        with Probes(net.hosts.values()) as probes:
            with steps(console) as step:
                step(f"dfvctl apply --wait {options.network}")
                net.dfvctl("apply", "--wait", str(options.network), timeout_s=AGENT_DEADLINE_S)
            console.print(f"up after {time.monotonic() - begin:.1f} s")
            with Readings(net.zookeeper, sorted(net.switches)) as readings:
                flows = choose(network, net.plan.hosts)
                free = next((f.port for f in flows if f.best_effort), BEST_EFFORT_PORT)
                run = Run(
                    network=network,
                    net=net,
                    probes=probes,
                    readings=readings,
                    flows=flows,
                    best_effort_port=free,
                )
                board = Board(console)
                show(run, board, options.network.parent / ADDITION)
            board.verdict(options.target)
        console.print(f"\n{time.monotonic() - begin:.1f} s in all")
        if not options.once:
            stay(net, options)
    finally:
        with steps(console) as step:
            step("removing everything")
            net.stop(keep_logs=False)
    return 0 if board.passed else 1


def show(run: Run, board: Board, addition: Path) -> None:
    """All phases, in order. Each prints its table and puts its rows on the board."""
    _listen(run, addition)
    with steps(board.console) as step:
        step("who reaches whom")
        start = accounts.read(run, time.time())
        apart = reach.measure(run, board)
        calm = accounts.read(run, time.time())
        accounts.judge_best_effort(board, start, calm)
        if apart:
            board.show(1, "tenants with the same addresses and MACs reach only their own")
        step("paths, keys and first packets")
        slices.measure_paths(run, board)
        step("throughput")
        slices.measure_throughput(run, board)
        step("counters")
        accounts.judge_ports(run, board, start)
        channels.measure(run, board)
        if addition.exists() and live.new_flows(run.network, run, addition):
            step("a slice added and deleted live")
            live.measure(run, board, addition)
        step("failures: VN controllers, then ZooKeeper")
        failures.measure(run, board)


def stay(net: Emulation, options: argparse.Namespace) -> None:
    """Say what can be tried, and wait for Ctrl-C."""
    raise NotImplementedError


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], None]]:
    """A spinner with the current step; plain lines where the output is no terminal."""
    if not console.is_terminal:
        yield lambda text: console.print(f"... {text}")
        return
    with console.status("") as status:
        yield lambda text: status.update(f"{text} ...")


def _listen(run: Run, addition: Path) -> None:
    """Every host answers on the ports of all flows, also of those that are added later."""
    ports = {run.best_effort_port, *(flow.port for flow in run.flows)}
    if addition.exists():
        ports |= {flow.port for flow in live.new_flows(run.network, run, addition)}
    for host in run.net.hosts:
        run.probes.listen(host, ports)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
