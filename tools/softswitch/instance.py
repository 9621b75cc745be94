"""One instance of a compiled pipeline: calls through ctypes with their results checked."""

from __future__ import annotations

import errno
import os

from softswitch.errors import DuplicateEntryError, EngineError, TableFullError, UnknownNameError
from softswitch.native import Library


class Instance:
    """What sw_create returned, until `close`. Calls release the interpreter lock."""

    def __init__(self, library: Library) -> None:
        self._library = library
        handle = library.sw_create()
        if not handle:
            raise EngineError("out of memory")
        self._handle: int | None = handle

    def raw(self, function: str, *arguments: object) -> int:
        """A function's result, a negative errno included. Raises EngineError when closed."""
        if self._handle is None:
            raise EngineError("the engine is closed")
        return int(getattr(self._library, function)(self._handle, *arguments))

    def call(self, what: str, function: str, *arguments: object) -> int:
        """As `raw`; a negative errno becomes an error about `what`."""
        rc = self.raw(function, *arguments)
        if rc >= 0:
            return rc
        match -rc:
            case errno.ENOSPC:
                raise TableFullError(f"{what}: the table is full")
            case errno.EEXIST:
                raise DuplicateEntryError(f"{what}: an entry with this key exists")
            case errno.ENOENT:
                raise UnknownNameError(f"{what}: does not exist")
        raise EngineError(f"{what}: {os.strerror(-rc)}")

    def free(self, pointer: int) -> None:
        """Free what a call handed over."""
        self._library.sw_free(pointer)

    def stop(self) -> None:
        """Stop the packet thread, if there is anything to stop."""
        if self._handle is not None:
            self._library.sw_stop(self._handle)

    def close(self) -> None:
        """Stop and free everything. May be called again."""
        handle, self._handle = self._handle, None
        if handle is not None:
            self._library.sw_stop(handle)
            self._library.sw_destroy(handle)
