"""From the intermediate form (`softswitch.ir`) to C text; the same program gives the same text."""

from softswitch.codegen.program import generate

__all__ = ["generate"]
