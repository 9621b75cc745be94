"""Fixtures shared by the tests of the control plane: a real ZooKeeper, one chroot per test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from emulation.zookeeper import Ensemble, ZooKeeperServer
from hypothesis import settings

# how long an example takes says nothing on a loaded machine
settings.register_profile("dfvisor", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2000)  # make soak
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dfvisor"))

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def zookeeper_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    """A server for the whole session; tests that stop or pause one start their own."""
    with ZooKeeperServer(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture
def zookeeper(zookeeper_server: ZooKeeperServer) -> str:
    """Address with a chroot of the test's own: `127.0.0.1:port/test-n`."""
    return f"{zookeeper_server.address}/test-{next(_numbers)}"


@pytest.fixture
def own_zookeeper(tmp_path: Path) -> Iterator[ZooKeeperServer]:
    """A server that the test may stop, pause and restart."""
    with ZooKeeperServer(tmp_path / "zookeeper") as server:
        yield server


@pytest.fixture(scope="session")
def _ensemble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with Ensemble(tmp_path_factory.mktemp("ensemble"), 3) as ensemble:
        yield ensemble


@pytest.fixture
def ensemble(_ensemble: Ensemble) -> Iterator[Ensemble]:
    """Three servers, all up; the test may kill, pause and restart them. Take a chroot of your own:
    `f"{ensemble.address}/{name}"`.
    """
    yield _ensemble
    for member in _ensemble.members:
        member.resume()
    _ensemble.start()
