"""Runs a function as the first process of private network, mount and process namespaces.

Whatever it starts or configures is gone when it returns, however it ends: the kernel kills every
process of a process namespace together with its first one, and drops the interfaces with the last.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn

CLONE_NEWNS = 0x00020000  # linux/sched.h
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1  # linux/prctl.h
INTERRUPTED = 130


def run_in_sandbox(body: Callable[[], int]) -> int:
    """The exit status of `body`, run in a sandbox. Needs root, and no other threads yet."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID) != 0:
        error = os.strerror(ctypes.get_errno())
        print(f"can't make private namespaces ({error}): run as root", file=sys.stderr)
        return 1
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _first_process(libc, body)
    signal.signal(signal.SIGTERM, lambda number, _: os.kill(child, number))
    while True:
        try:
            _, status = os.waitpid(child, 0)
        except KeyboardInterrupt:
            continue  # the terminal interrupts the child as well; it ends by itself
        return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else INTERRUPTED


def _first_process(libc: ctypes.CDLL, body: Callable[[], int]) -> NoReturn:
    status = 1
    try:
        status = _set_up_and_run(libc, body)
        sys.stdout.flush()
    finally:
        os._exit(status)  # whatever happened: the frames above belong to the parent


def _set_up_and_run(libc: ctypes.CDLL, body: Callable[[], int]) -> int:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGTERM, _interrupt)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # it tells of every server that ends
    try:
        for command in (
            "mount --make-rprivate /",
            "mount -t proc proc /proc",
            "mount -t sysfs sysfs /sys",
            "ip link set lo up",
        ):
            subprocess.run(command.split(), check=True)
        for scope in ("all", "default"):
            knob = Path(f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6")
            if knob.exists():
                knob.write_text("1")
        return body()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BaseException:  # noqa: BLE001 - the last frame of this process: report, then end it
        traceback.print_exc()
        return 1


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
