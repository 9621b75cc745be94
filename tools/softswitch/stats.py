"""What the packet thread counts beside the program's own counters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortStats:
    """Traffic of a port since it was added; bytes are frame bytes without FCS."""

    interface: str
    up: bool
    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    rx_kernel_drops: int
    rx_oversize: int
    tx_failures: int
    pcap_failures: int


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One of a port's queues: what left by it, what it had no room for, and what waits in it."""

    packets: int
    bytes: int
    drops: int
    waiting: int


@dataclass(frozen=True, slots=True)
class DropStats:
    """Packets that the switch itself dropped after ingress; `events` are reports that were lost."""

    unknown_port: int
    priority: int
    clones: int
    passes: int
    queue_full: int
    events: int
