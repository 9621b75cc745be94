"""A rig per test: database with a chroot of its own, switch process, local directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from .rig import Rig


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
