"""What can go wrong in an emulation."""

from __future__ import annotations

from dfvisor.errors import DFVisorError


class EmulationError(DFVisorError):
    """The emulated network could not be built, or something in it failed."""
