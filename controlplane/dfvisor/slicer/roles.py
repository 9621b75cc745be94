"""P4Runtime roles of slice controllers: `slice/<vn>/<slice>` and `vn/<vn>`. Pure."""

from __future__ import annotations

from typing import NamedTuple, Self


class Role(NamedTuple):
    """Who a client is to the slicer; `slice` None is the VN's own controller, for all slices.

    A tuple, because a Write looks up a dozen things by it.
    """

    vn: str
    slice: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a role's name; None for anything that is not one of ours, the default role among
        it.
        """
        match text.split("/"):
            case ["vn", vn] if vn:
                return cls(vn)
            case ["slice", vn, slice_] if vn and slice_:
                return cls(vn, slice_)
        return None

    @property
    def whole_vn(self) -> bool:
        """Whether this is the controller of all the VN's slices."""
        return self.slice is None

    def __str__(self) -> str:
        return f"vn/{self.vn}" if self.slice is None else f"slice/{self.vn}/{self.slice}"
