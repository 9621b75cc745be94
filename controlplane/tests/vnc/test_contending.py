"""Standing for a VN when the connection fails at any step of it."""

from __future__ import annotations

import pytest
from dfvisor.errors import StoreUnavailable
from dfvisor.store.database import GlobalDatabase

pytestmark = pytest.mark.zk


@pytest.mark.parametrize("failing", [1, 2, 3])
async def test_contending_after_a_failed_attempt_leads_with_one_node(
    zookeeper: str, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """The `failing`th question for the nodes gets no answer."""
    async with await GlobalDatabase.connect(zookeeper) as database:
        zk = database._zk
        ask = zk.children
        asked = 0

        async def children(*arguments: object) -> list[str]:
            nonlocal asked
            asked += 1
            if asked == failing:
                raise StoreUnavailable("no answer")
            return await ask(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(zk, "children", children)
        try:
            ownership = await database.contend("red", "vnc1", lambda: None)
        except StoreUnavailable:
            ownership = await database.contend("red", "vnc1", lambda: None)
        assert ownership.is_leader
        assert await database.read_owners("red") == ("vnc1",)
        assert asked > failing
