"""Compiles a generated pipeline with the runtime into a shared object, and keeps it by content.

Blocking; the cache directory may be shared by several processes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from softswitch.errors import CompileError

RUNTIME = Path(__file__).with_name("runtime")
_FLAGS = (
    "-std=gnu17",
    "-O2",
    "-march=native",
    "-g",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-strict-aliasing",
    "-pthread",
)
_FUZZ_SOURCE = Path(__file__).with_name("fuzz") / "fuzz.c"
_SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1")
_TIMEOUT_S = 300


def _processor() -> str:
    """What -march=native looks at: an object is of no use on another kind of processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    names = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.partition("\t")[0] in names}))


def build(text: str, cache_dir: Path, *, sanitize: bool = False, fuzzer: bool = False) -> Path:
    """Path of the shared object for this C text; compiled unless the cache has it.

    With `sanitize`, the process must have libasan preloaded (LD_PRELOAD) to load the result. With
    `fuzzer`, which implies it, the object has the function sw_fuzz().
    Raises CompileError.
    """
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise CompileError(f"no C compiler '{compiler}': install one (Debian: apt install gcc)")
    flags = (*_FLAGS, *(_SANITIZE if sanitize or fuzzer else ()))
    units = sorted(RUNTIME.glob("*.c"))
    if fuzzer:
        flags += ("-fsanitize-coverage=trace-pc",)
        units.append(_FUZZ_SOURCE)
    sources = [*units, *sorted(RUNTIME.glob("*.h"))]
    common = _digest(compiler, *flags, _processor(), *(path.read_text() for path in sources))
    target = cache_dir / f"pipeline-{_digest(common, text)}.so"
    if target.exists():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    runtime = cache_dir / f"runtime-{common}.o"  # the same for every pipeline
    with tempfile.TemporaryDirectory(dir=cache_dir) as directory:
        scratch = Path(directory)
        if not runtime.exists():
            _run([compiler, *flags, f"-I{RUNTIME}", "-c", *map(str, units)], scratch)
            objects = [f"{unit.stem}.o" for unit in units]
            _run([compiler, "-r", "-nostdlib", *objects, "-o", "runtime.o"], scratch)
            scratch.joinpath("runtime.o").replace(runtime)
        generated = scratch / "pipeline.c"
        generated.write_text(text)
        link = [str(generated), str(runtime), "-o", "pipeline.so"]
        _run([compiler, *flags, "-shared", f"-I{RUNTIME}", *link], scratch)
        # kept next to the object, for people and debuggers
        generated.replace(target.with_suffix(".c"))
        scratch.joinpath("pipeline.so").replace(target)
    return target


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _run(command: list[str], directory: Path) -> None:
    try:
        run = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CompileError(f"{command[0]} took more than {_TIMEOUT_S} s") from error
    if run.returncode:
        raise CompileError(f"{command[0]} failed:\n{run.stderr[-4000:]}")
