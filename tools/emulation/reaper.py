"""Removes everything of one emulated network, whatever became of the process that built it.

Runs as a small process of its own, started by the runner, which holds the other end of a pipe:
when the runner ends, in whatever way, the pipe closes and the reaper sweeps. `sweep` is also what
`down` and a new start call. Standard library only, so that it starts quickly and needs nothing of
the project.

    python -I -S reaper.py PIPE_FD LOCK_FD INSTANCE DIRECTORY
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

NETNS = Path("/run/netns")
ENVIRONMENT_MARK = (
    "DFVISOR_INSTANCE"  # the same as in instance.py, which is not importable from here
)
GRACE_S = 1.5  # between SIGTERM and SIGKILL
KILL_S = 10.0
_MNT_DETACH = 2


@dataclass(frozen=True, slots=True)
class Recorded:
    """A process as the journal knows it: `start` (clock ticks since boot) tells it from a
    successor.
    """

    kind: str  # "runner" or "process"
    name: str
    pid: int
    start: int


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name may hold anything, also brackets
    return None if fields[0] in "ZX" else int(fields[19])


def recorded(journal: Path) -> list[Recorded]:
    """The processes of the journal; a line cut short by a crash is not one."""
    found = []
    try:
        lines = journal.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            entry = json.loads(line)
            found.append(Recorded(entry["kind"], entry["name"], entry["pid"], entry["start"]))
    return found


def alive(process: Recorded) -> bool:
    return start_time(process.pid) == process.start


def namespaces(instance: str) -> list[Path]:
    return sorted(NETNS.glob(f"dfv-{instance}-*"))


def processes(instance: str, directory: Path) -> set[int]:
    """Every process of the instance: recorded, marked in its environment, or in its namespaces."""
    found = {p.pid for p in recorded(directory / "journal") if p.kind == "process" and alive(p)}
    inodes = set()
    for path in namespaces(instance):
        with contextlib.suppress(OSError):
            status = path.stat()
            inodes.add((status.st_dev, status.st_ino))
    mark = f"{ENVIRONMENT_MARK}={instance}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError):  # it ended meanwhile
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(pid)
            status = (entry / "ns" / "net").stat()
            if (status.st_dev, status.st_ino) in inodes:
                found.add(pid)
    return {pid for pid in found if pid != os.getpid() and start_time(pid) is not None}


def sweep(instance: str, directory: Path, *, keep_logs: bool = False) -> list[str]:
    """End the instance's processes, delete its namespaces and its state directory.

    Logs stay with `keep_logs`. Returns what could not be removed, as sentences (normally none).
    """
    left = _end_processes(instance, directory)
    libc = ctypes.CDLL(None, use_errno=True)
    for path in namespaces(instance):
        libc.umount2(os.fsencode(path), _MNT_DETACH)  # the name may not be mounted any more
        try:
            path.unlink()
        except OSError as error:
            left.append(f"namespace {path.name}: {error}")
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                if not (keep_logs and entry.name == "logs"):
                    shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # not empty: logs, or another instance's directory
            directory.rmdir()
            directory.parent.rmdir()
    return left


def _end_processes(instance: str, directory: Path) -> list[str]:
    now = time.monotonic()
    polite_until, deadline = now + GRACE_S, now + KILL_S
    told: set[int] = set()
    while pids := processes(instance, directory):
        now = time.monotonic()
        if now > deadline:
            return [f"process {pid} does not end" for pid in sorted(pids)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                if now > polite_until:
                    os.kill(pid, signal.SIGKILL)
                elif pid not in told:
                    os.kill(pid, signal.SIGTERM)
                    told.add(pid)
        time.sleep(0.02)
    return []


def main() -> int:
    pipe, _lock, instance, directory = (
        int(sys.argv[1]),
        int(sys.argv[2]),
        sys.argv[3],
        Path(sys.argv[4]),
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # meant for the runner; the pipe tells when to act
    said = b""
    while received := os.read(pipe, 16):
        said += received
    left = sweep(instance, directory, keep_logs=said != b"clean")
    for sentence in left:
        print(sentence, file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
