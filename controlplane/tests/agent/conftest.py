"""A rig per test: database with a chroot of its own, switch process, local directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dfvisor.store import vns

from .rig import Rig


@pytest.fixture(autouse=True)
def without_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """No VN controller runs here: revisions take effect without one, unless a test says else."""
    monkeypatch.setattr(vns, "ACTIVATE_AT_ONCE", True)


@pytest.fixture
async def rig(tmp_path: Path, zookeeper: str) -> AsyncIterator[Rig]:
    made = Rig(tmp_path, zookeeper)
    made.switch.start()
    try:
        await made.connect()
        yield made
    finally:
        if made.database is not None:
            await made.database.close()
        made.switch.kill()
