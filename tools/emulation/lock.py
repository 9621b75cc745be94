"""One runner per instance, and the reaper that outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from emulation import reaper
from emulation.errors import EmulationError
from emulation.instance import Instance

LOCK_DEADLINE_S = 20.0
REAP_DEADLINE_S = 20.0


def runner(instance: Instance) -> reaper.Recorded | None:
    """The live process that runs the instance."""
    for entry in reaper.recorded(instance.journal):
        if entry.kind == "runner" and reaper.alive(entry):
            return entry
    return None


def acquire(instance: Instance) -> socket.socket:
    """Take the instance for this process. EmulationError if another live process runs it.

    The lock is an abstract socket: it ends with its last holder (the reaper holds it too), and
    leaves no file behind.
    """
    deadline = time.monotonic() + LOCK_DEADLINE_S
    while True:
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0dfvisor-emulation-{instance.name}")
        except OSError as error:
            lock.close()
            other = runner(instance)
            if other and other.pid != os.getpid():
                raise EmulationError(
                    f"instance {instance.name} is already running (pid {other.pid}); "
                    f"`make down` ends it"
                ) from error
            if time.monotonic() > deadline:
                raise EmulationError(
                    f"instance {instance.name} is still being removed after {LOCK_DEADLINE_S:g} s"
                ) from error
            time.sleep(0.05)  # a reaper is at work
        else:
            return lock


class Reaper:
    """The sweeping process of one run, from this side."""

    def __init__(self, instance: Instance, lock: socket.socket) -> None:
        read_end, self._write_end = os.pipe()
        argv = [sys.executable, "-I", "-S", str(Path(reaper.__file__)), str(read_end)]
        self._process = subprocess.Popen(
            [*argv, str(lock.fileno()), instance.name, str(instance.directory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(read_end, lock.fileno()),
            env={"PATH": os.environ.get("PATH", os.defpath)},  # without the instance's mark
            start_new_session=True,  # neither Ctrl-C nor a closing terminal may reach it
        )
        os.close(read_end)

    def release(self, *, clean: bool) -> None:
        """Let it sweep, and wait for it. The logs go too if `clean`. EmulationError names what
        could not be removed."""
        with contextlib.suppress(BrokenPipeError):  # it was killed; the sweep below finds out
            if clean:
                os.write(self._write_end, b"clean")
        os.close(self._write_end)
        try:
            _, complaint = self._process.communicate(timeout=REAP_DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            raise EmulationError("the emulation could not be removed in time") from error
        if self._process.returncode != 0:
            text = complaint.decode(errors="replace").strip()
            raise EmulationError(f"the emulation was not removed completely: {text}")


def take_down(instance: Instance) -> bool:
    """End an instance from outside: its runner, if it lives, and whatever is left of it.

    Returns whether there was anything. EmulationError names what could not be removed.
    """
    found = runner(instance)
    anything = bool(
        found
        or instance.directory.exists()
        or reaper.namespaces(instance.name)
        or reaper.processes(instance.name, instance.directory)
    )
    for number, patience_s in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
        if found and reaper.alive(found):
            os.kill(found.pid, number)
            deadline = time.monotonic() + patience_s
            while reaper.alive(found) and time.monotonic() < deadline:
                time.sleep(0.05)
    with acquire(instance):
        if left := reaper.sweep(instance.name, instance.directory):
            raise EmulationError("; ".join(left))
    return anything
