"""A pytest plugin: every engine is built with AddressSanitizer and UndefinedBehaviorSanitizer.

Needs libasan preloaded; `test_engine_sanitized.py` starts such a process.
"""

from __future__ import annotations

from softswitch.engine import Engine

_build = vars(Engine)["build"].__func__
_build.__kwdefaults__ = {**(_build.__kwdefaults__ or {}), "sanitize": True}
