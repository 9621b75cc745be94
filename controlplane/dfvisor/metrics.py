"""What a daemon counts, for Prometheus: `--metrics HOST:PORT`. The only importer of its client."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from dfvisor.errors import DFVisorError
from dfvisor.store.stats import LATENCY_BOUNDS_MS, Latency, RoleCount

Read = Callable[[], "Reading"]


@dataclass(slots=True, kw_only=True)
class Reading:
    """What is so now. `database_age_s`: 0 while the global database is heard. `labels` say whose it
    is; `revisions` are by VN.
    """

    labels: dict[str, str]
    database_age_s: float
    local_database_ok: bool = True
    revisions: dict[str, int] = field(default_factory=dict)
    latency: tuple[Latency, ...] = ()
    roles: tuple[RoleCount, ...] = ()


class _Collected(Collector):
    def __init__(self, read: Read) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """Called by the server's own thread: reads plain values alone."""
        now = self._read()
        names, values = list(now.labels), list(now.labels.values())
        age = GaugeMetricFamily(
            "dfvisor_database_age_seconds",
            "For how long the global database has not been heard; 0 while it is.",
            labels=names,
        )
        age.add_metric(values, now.database_age_s)
        yield age
        well = GaugeMetricFamily(
            "dfvisor_local_database_ok", "Whether the local database can be written.", labels=names
        )
        well.add_metric(values, float(now.local_database_ok))
        yield well
        revisions = GaugeMetricFamily(
            "dfvisor_vn_revision", "The revision of each virtual network.", labels=[*names, "vn"]
        )
        for vn, revision in sorted(now.revisions.items()):
            revisions.add_metric([*values, vn], revision)
        yield revisions
        latency = HistogramMetricFamily(
            "dfvisor_propagation_seconds",
            "Time from the commit of a change to a stage at the switch, per slice.",
            labels=[*names, "vn", "slice", "stage"],
        )
        for one in now.latency:
            latency.add_metric(
                [*values, one.vn, one.slice, one.stage], _buckets(one), one.sum_ms / 1000
            )
        yield latency
        roles = CounterMetricFamily(
            "dfvisor_slicer_requests",
            "What became of slice controllers' requests, by role and kind.",
            labels=[*names, "role", "kind"],
        )
        for count in now.roles:
            roles.add_metric([*values, count.role, count.kind], count.number)
        yield roles


def _buckets(one: Latency) -> list[tuple[str, float]]:
    """Cumulative, as Prometheus has them."""
    found: list[tuple[str, float]] = []
    total = 0
    for bound, cell in zip((*LATENCY_BOUNDS_MS, None), one.cells, strict=True):
        total += cell
        found.append(("+Inf" if bound is None else str(bound / 1000), float(total)))
    return found


def serve(address: str, read: Read) -> int:
    """Serve them at `host:port` by a thread of its own, until the process ends; the port."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise DFVisorError(f"--metrics {address}: expected HOST:PORT")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(read))
    try:
        server, _ = start_http_server(int(port), host or "127.0.0.1", registry)
    except OSError as error:
        raise DFVisorError(f"--metrics {address}: {error.strerror}") from error
    return int(server.server_port)
