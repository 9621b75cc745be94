"""`softswitch stf CONFIG.json TEST.stf`: 0 if everything is as expected, 3 if the program needs
what this switch does not support, 1 otherwise."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from softswitch.engine import Engine
from softswitch.errors import EngineError, UnsupportedError
from softswitch.server.options import default_cache_dir
from softswitch.stf.play import play
from softswitch.stf.syntax import StfError, parse

FAILED, UNSUPPORTED = 1, 3


def run(arguments: Sequence[str]) -> int:
    """Play a file; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="softswitch stf",
        description="Play a test in p4c's STF on a program; no interfaces are needed.",
    )
    parser.add_argument("config", type=Path, help="BMv2 JSON")
    parser.add_argument("test", type=Path, help="STF file")
    parser.add_argument("--cache-dir", type=Path, default=default_cache_dir(), metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        document = options.config.read_bytes()
        statements = parse(options.test.read_text())
        engine = Engine.build(document, cache_dir=options.cache_dir)
    except UnsupportedError as error:
        return _fail(f"{options.config}: {error}", UNSUPPORTED)
    except EngineError as error:
        return _fail(f"{options.config}: {error}", FAILED)
    except (OSError, UnicodeDecodeError, StfError) as error:
        return _fail(f"{options.test}: {error}", FAILED)
    try:
        differences = play(engine, statements)
    except StfError as error:
        return _fail(f"{options.test}: {error}", FAILED)
    finally:
        engine.close()
    for difference in differences:
        print(f"softswitch: {options.test}: {difference}", file=sys.stderr)
    return FAILED if differences else 0


def _fail(message: str, status: int) -> int:
    print(f"softswitch: error: {message}", file=sys.stderr)
    return status
