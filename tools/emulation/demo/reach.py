"""Who reaches whom, and who must not: every host asks every address, also those of other
tenants.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from emulation.demo.board import Board
from emulation.demo.run import Run
from emulation.nodes import Host, Ping

WAIT_S = 1.2  # for answers that must not come
PINGS = 3


def measure(run: Run, board: Board) -> None:
    """Print the matrix and judge it."""
    hosts = [host for host in run.net.hosts.values() if host.plan.ipv4]
    port = run.best_effort_port
    questions = {a.name: [(str(b.plan.ipv4), port) for b in hosts if b is not a] for a in hosts}
    questions = {name: sorted(set(pairs)) for name, pairs in questions.items()}
    answers = run.probes.ask_all(questions, WAIT_S)
    pings = _ping_all(run, hosts)
    heard = {host.name: run.probes.heard(host.name) for host in hosts}

    wrong: list[str] = []
    reached = isolated = overlapping = 0
    rows = []
    for a in hosts:
        row = [f"{a.name} ({a.plan.vn})"]
        for b in hosts:
            if a is b:
                row.append("")
                continue
            ip = str(b.plan.ipv4)
            came = any(asker == a.name for asker, _ in heard[b.name])
            answered = answers[a.name].get(ip)
            seen = f"heard {came}, answer from {answered}"
            if a.plan.vn == b.plan.vn and run.joined(a.plan.port.switch, b.plan.port.switch):
                ping = pings[a.name, b.name]
                fine = came and answered == b.name and ping.received > 0
                row.append(f"{min(ping.rtt_ms.values()):.1f} ms" if fine else "NOT REACHED")
                reached += fine
                seen += f", {ping.received} of {ping.sent} pings answered"
            else:
                same = _own(hosts, a, ip)
                fine = not came and answered == same
                row.append("-" if fine else "REACHED")
                isolated += fine
                overlapping += fine and same is not None
            if not fine:
                wrong.append(f"{a.name}->{b.name} ({ip}): {seen}")
        rows.append(row)
    board.table(
        "Who reaches whom (fastest of 3 pings; - is not reached, and must not be)",
        ["from \\ to", *(h.name for h in hosts)],
        rows,
    )
    seen = f"{reached} pairs reached, {isolated} kept apart"
    if overlapping:
        seen += (
            f"; for {overlapping} of these the address exists in both VNs, and only the own VN's "
            f"host heard the question"
        )
    fine = board.check(
        "each host reaches its own VN and nobody else", not wrong, "; ".join(wrong) or seen
    )
    if fine and overlapping:
        board.show(1, "tenants with the same addresses and MACs reach only their own hosts")


def _own(hosts: list[Host], asker: Host, ip: str) -> str | None:
    """Who has the address in the asker's own VN: the only one who may answer."""
    for host in hosts:
        if host.plan.vn == asker.plan.vn and str(host.plan.ipv4) == ip:
            return host.name
    return None


def _ping_all(run: Run, hosts: list[Host]) -> dict[tuple[str, str], Ping]:
    """Every ordered pair within a VN, all at once."""
    pairs = [
        (a, b)
        for a in hosts
        for b in hosts
        if a is not b
        and a.plan.vn == b.plan.vn
        and run.joined(a.plan.port.switch, b.plan.port.switch)
    ]
    with ThreadPoolExecutor(max(1, len(pairs))) as pool:
        pings = pool.map(lambda pair: pair[0].ping(pair[1].plan.ipv4, PINGS), pairs)
        return {(a.name, b.name): ping for (a, b), ping in zip(pairs, pings, strict=True)}
