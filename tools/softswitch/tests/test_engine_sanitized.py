"""The engine's other tests once more, under AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from softswitch.build import build
from softswitch.codegen import generate
from softswitch.config import load_program
from softswitch.tests.bmv2_json import forwarding

HERE = Path(__file__).parent


def environment() -> dict[str, str]:
    """The environment of a process that can load sanitized objects."""
    found = subprocess.run(
        ["cc", "-print-file-name=libasan.so"],
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    library = found.stdout.strip()
    assert Path(library).is_absolute(), "libasan is missing (Debian: apt install libgcc-12-dev)"
    # the interpreter itself frees little at its end
    options = {
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    return {**os.environ, **options, "LD_PRELOAD": library}


SUBJECTS = ["tables", "parser", "packets", "arithmetic", "bmv2", "io", "extras", "profiles"]
SUBJECTS += ["meters", "events", "rates", "state", "wire"]
SUBJECTS = [*(f"engine_{subject}" for subject in SUBJECTS), "server_wire"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_engine_under_sanitizers_passes_its_tests(subject: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "softswitch.tests.sanitized"]
    command += ["-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    run = subprocess.run(
        [*command, str(HERE / f"test_{subject}.py")],
        env=environment(),
        cwd=HERE.parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-6000:]
    objects = list(tmp_path.glob("inner/**/pipeline-*.so"))
    assert objects and all(b"__asan_init" in path.read_bytes() for path in objects)


def test_sanitizers_when_memory_is_misused_stop_the_process(tmp_path: Path) -> None:
    """The check itself can fail: a read beyond the packet is caught."""
    text = generate(load_program(forwarding([["a", 64, False]]).encode()))
    broken = text.replace("k->len - k->offset < 8", "k->len - k->offset < 4")
    assert broken != text
    path = build(broken, tmp_path, sanitize=True)
    script = (
        "import ctypes, sys\n"
        "from pathlib import Path\n"
        "from softswitch.native import Library\n"
        "library = Library(Path(sys.argv[1]))\n"
        "memory = ctypes.CDLL(None)\n"
        "memory.malloc.restype = ctypes.c_void_p\n"
        "out, size = ctypes.c_void_p(), ctypes.c_size_t()\n"
        "results = ctypes.byref(out), ctypes.byref(size)\n"
        "data = ctypes.cast(memory.malloc(4), ctypes.c_char_p)\n"
        "library.sw_process(library.sw_create(), 1, data, 4, *results)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr
