"""`python -m emulation.down [INSTANCE...]`: end whatever an emulation left on this machine.

Without names: the demonstration, and every other instance that nobody runs any more. Exits 1 if
something stays.
"""

from __future__ import annotations

import sys

from emulation.errors import EmulationError
from emulation.instance import STATE_ROOT, Instance
from emulation.lock import runner, take_down
from emulation.reaper import NETNS


def found() -> list[str]:
    """Names of the instances that left something here and have no runner; and the demonstration."""
    names = {entry.name for entry in STATE_ROOT.glob("*") if entry.is_dir()}
    names |= {path.name.split("-")[1] for path in NETNS.glob("dfv-*-*")}
    demo = Instance().name
    return sorted(name for name in names if name == demo or not runner(Instance(name)))


def main() -> int:
    status = 0
    names = sys.argv[1:] or found()
    for name in names:
        try:
            ended = take_down(Instance(name))
        except EmulationError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
        else:
            print(f"{name}: {'removed' if ended else 'nothing to remove'}")
    if not names:
        print("nothing to remove")
    return status


if __name__ == "__main__":
    sys.exit(main())
