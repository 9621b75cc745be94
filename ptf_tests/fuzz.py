"""Fuzzes the softswitch's pipeline under the sanitizers, guided by coverage.

`python ptf_tests/fuzz.py [--packets N] [--seed S] [--corpus DIR]`. Tables are filled by the random
scenarios of the parity tests, whose packets are the first to be changed; every scenario gets
BATCHES batches of packets, and between them its entries are taken out and put in again. Packets
that took new ways stay in the corpus directory, together with how far the run has come: one that
was interrupted goes on there. What a sanitizer reports ends the run with status 1, and happens
again when it is started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from bench.memory import insert  # noqa: E402
from dfvisor.p4rt.entries import Meter, MulticastGroup, TableEntry  # noqa: E402
from softswitch.engine import FUZZ_MAP, Engine  # noqa: E402
from softswitch.meters import MeterConfig  # noqa: E402
from softswitch.tests.test_engine_sanitized import environment  # noqa: E402

from ptf_tests.lab import CONFIGS, load_schema  # noqa: E402
from ptf_tests.p4rt import CPU_PORT, TRACE_SESSION  # noqa: E402
from ptf_tests.vectors import generate  # noqa: E402
from ptf_tests.vectors.scenario import Scenario  # noqa: E402

BATCHES = 5
BATCH = 40_000
SEED_PACKETS = 64
MOST_KNOWN = 4096  # of the corpus, at the start of a batch

Packet = tuple[int, bytes]


@dataclass(slots=True)
class Corpus:
    """Packets worth keeping, a file each; `progress` counts the batches that are done."""

    directory: Path
    seed: int

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def _progress(self) -> Path:
        return self.directory / "progress.json"

    def done(self) -> int:
        """Batches that an earlier run with this seed has finished."""
        if not self._progress.exists():
            return 0
        found = json.loads(self._progress.read_text())
        return int(found["batches"]) if found["seed"] == self.seed else 0

    def finish(self, batches: int) -> None:
        """Remember how far it has come."""
        fresh = self._progress.with_suffix(".new")
        fresh.write_text(json.dumps({"seed": self.seed, "batches": batches}))
        fresh.replace(self._progress)

    def packets(self) -> list[Packet]:
        """All of them, in an order that does not change."""
        files = sorted(self.directory.glob("*.packet"))
        raw = [file.read_bytes() for file in files]
        return [(int.from_bytes(data[:4], "big"), data[4:]) for data in raw]

    def add(self, packets: list[Packet]) -> None:
        """Keep these too."""
        for port, packet in packets:
            data = port.to_bytes(4, "big") + packet
            name = hashlib.sha256(data).hexdigest()[:24]
            (self.directory / f"{name}.packet").write_bytes(data)


def fill(engine: Engine, scenario: Scenario) -> list[tuple[TableEntry, int]]:
    """Put everything of a scenario into an engine; its direct entries with their handles."""
    engine.set_cpu_port(CPU_PORT)
    engine.clone_session_set(TRACE_SESSION, [(CPU_PORT, 1)])
    handles = []
    for item in scenario.items:
        match item:
            case MulticastGroup(group_id, replicas):
                engine.multicast_set(group_id, sorted(replicas))
            case Meter(meter, index, config):
                rates = None
                if config is not None:
                    rates = MeterConfig(config.cir, config.cburst, config.pir, config.pburst)
                engine.meter_set(meter, index, rates)
            case TableEntry():
                handle = insert(engine, item)
                if handle is not None and not item.members:
                    handles.append((item, handle))
    return handles


def churn(
    engine: Engine, held: list[tuple[TableEntry, int]], rng: Random
) -> list[tuple[TableEntry, int]]:
    """Take half of the entries out and put them in again."""
    chosen = set(rng.sample(range(len(held)), len(held) // 2))
    for place in chosen:
        entry, handle = held[place]
        engine.delete(entry.table, handle)
    result = [one for place, one in enumerate(held) if place not in chosen]
    for place in chosen:
        handle = insert(engine, held[place][0])
        assert handle is not None
        result.append((held[place][0], handle))
    return result


def run(packets: int, seed: int, directory: Path) -> None:
    """Fuzz in this process, which has libasan preloaded."""
    corpus, schema = Corpus(directory, seed), load_schema()
    program, cache = (CONFIGS / "dfvisor.json").read_bytes(), directory.parent / "fuzz-build"
    batches, done = -(-packets // BATCH), corpus.done()
    seen = bytearray(FUZZ_MAP)
    engine, held = None, []
    if done:
        print(f"fuzz: going on after {done * BATCH:,} packets")
    for batch in range(done, batches):
        number = batch // BATCHES
        scenario = generate.scenario(schema, seed, number, SEED_PACKETS)
        if engine is None or batch % BATCHES == 0:
            if engine is not None:
                engine.close()
            engine = Engine.build(program, cache_dir=cache, fuzzer=True)
            held = fill(engine, scenario)
        else:
            held = churn(engine, held, Random(batch))
        rng = Random(f"{seed}/{batch}")
        kept = corpus.packets()
        known = list(scenario.packets) + rng.sample(kept, min(len(kept), MOST_KNOWN))
        fresh = engine.fuzz(rng.getrandbits(62), min(BATCH, packets - batch * BATCH), known, seen)
        corpus.add(fresh)
        corpus.finish(batch + 1)
        if batch % 25 == 24 or batch + 1 == batches:
            ways = sum(1 for count in seen if count)
            print(
                f"fuzz: {min(packets, (batch + 1) * BATCH):,} packets, corpus {len(kept):,}, "
                f"{ways:,} edges",
                flush=True,
            )
    if engine is not None:
        engine.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--packets", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=ROOT / ".cache" / "fuzz")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        run(options.packets, options.seed, options.corpus)
        return 0
    status = subprocess.run([sys.executable, *sys.argv, "--here"], env=environment()).returncode
    if status:
        print(f"fuzz: failed; start it again to see it again (corpus: {options.corpus})")
    return 1 if status else 0


if __name__ == "__main__":
    sys.exit(main())
