"""Processes of an emulation: started, recorded, watched, ended.

Every child dies with the runner (PR_SET_PDEATHSIG), is marked in its environment, and stands in the
journal, which the reaper reads. PR_SET_PDEATHSIG is tied to the thread that forks, so one thread
that lives as long as the supervisor starts all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from emulation.errors import EmulationError
from emulation.instance import ENVIRONMENT_MARK, Instance
from emulation.reaper import start_time

LOG_TAIL_LINES = 25
END_S = 5.0
POLL_S = 0.02


class Journal:
    """The list of what was started, one JSON object a line; appended before anything depends on
    it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def record(self, kind: str, name: str, pid: int) -> None:
        entry = {"kind": kind, "name": name, "pid": pid, "start": start_time(pid)}
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """How a process is started, so that it can be started again."""

    name: str
    argv: tuple[str, ...]
    namespace: str | None = None
    environment: Mapping[str, str] | None = None


class Supervisor:
    """Starts and ends the long-lived processes of one instance, by name."""

    def __init__(self, instance: Instance, journal: Journal) -> None:
        self._instance = instance
        self._journal = journal
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
        self._commands: dict[str, Command] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, command: Command) -> None:
        """Start a process; its output goes to the log of its name. EmulationError if it can't."""
        argv = ["setpriv", "--pdeathsig", "KILL", *_inside(command.namespace), *command.argv]
        environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            **(command.environment or {}),
            ENVIRONMENT_MARK: self._instance.name,
        }

        def spawn() -> subprocess.Popen[bytes]:
            with self.log(command.name).open("ab") as log:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,  # Ctrl-C is for the runner alone
                )

        try:
            process = self._starter.submit(spawn).result()
        except OSError as error:
            raise EmulationError(f"cannot start {command.name}: {error}") from error
        self._journal.record("process", command.name, process.pid)
        self._commands[command.name] = command
        self._running[command.name] = process

    def log(self, name: str) -> Path:
        return self._instance.logs / f"{name}.log"

    def tail(self, name: str) -> str:
        """The last lines of a process's log, with its name."""
        try:
            lines = self.log(name).read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError as error:
            lines = [f"(no log: {error})"]
        return "\n".join([f"--- end of {self.log(name)}", *lines])

    def names(self) -> tuple[str, ...]:
        return tuple(self._running)

    def pid(self, name: str) -> int:
        return self._process(name).pid

    def ended(self) -> tuple[str, ...]:
        return tuple(name for name, p in self._running.items() if p.poll() is not None)

    def check(self) -> None:
        """EmulationError with the log's tail if a process has ended that nobody told to."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise EmulationError(f"{name} ended with {_describe(code)}\n{self.tail(name)}")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process and wait until it has ended; SIGKILL follows a signal that does not
        work.
        """
        process = self._process(name)
        process.send_signal(number)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        del self._running[name]

    def restart(self, name: str, *options: str) -> None:
        """Start a process again, with its arguments as before and more options, ending it first if
        it runs."""
        if name in self._running:
            self.kill(name)
        if name not in self._commands:
            raise EmulationError(f"there is no process {name}; there are {sorted(self._commands)}")
        command = self._commands[name]
        self.start(replace(command, argv=(*command.argv, *options)))

    def forget(self) -> None:
        """Collect the exit statuses of children that somebody else has ended."""
        for process in self._running.values():
            process.wait(END_S)
        self._running.clear()
        self._starter.shutdown()

    def _process(self, name: str) -> subprocess.Popen[bytes]:
        if name not in self._running:
            raise EmulationError(f"no process {name} is running; there are {sorted(self._running)}")
        return self._running[name]


def wait_until(
    condition: Callable[[], bool],
    what: str,
    deadline_s: float,
    *,
    check: Callable[[], None] | None = None,
    poll_s: float = POLL_S,
) -> float:
    """Poll until `condition` holds and return the seconds it took; EmulationError at the deadline.

    `check` runs at every poll and raises if waiting has become pointless.
    """
    begin = time.monotonic()
    while not condition():
        if check:
            check()
        if time.monotonic() - begin > deadline_s:
            raise EmulationError(f"waited {deadline_s:g} s in vain for {what}")
        time.sleep(poll_s)
    return time.monotonic() - begin


def _inside(namespace: str | None) -> Sequence[str]:
    """Enter a namespace with its own sysfs, where BMv2 reads whether its interfaces are up."""
    return ("ip", "netns", "exec", namespace) if namespace else ()


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
