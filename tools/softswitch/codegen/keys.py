"""Where each key field of a table lies in the 64-bit words of its lookup key.

The generated lookups and the control side (`softswitch.engine`) share this layout. Fields of up to
64 bits share words, first fit; a wider field has words of its own, least significant first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softswitch import ir
from softswitch.codegen.layout import words


@dataclass(frozen=True, slots=True)
class Place:
    """A field starts at bit `shift` of word `word`."""

    word: int
    shift: int


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """Places of the key fields in order, and the words they take together."""

    places: tuple[Place, ...]
    words: int

    def pack(self, values: Sequence[int]) -> int:
        """All fields as one number, word 0 least significant; each value must fit its field."""
        number = 0
        for place, value in zip(self.places, values, strict=True):
            number |= value << (64 * place.word + place.shift)
        return number


def key_layout(table: ir.Table) -> KeyLayout:
    """The layout of a table's key."""
    fill: list[int] = []
    places: dict[int, Place] = {}
    order = sorted(range(len(table.keys)), key=lambda i: (-table.keys[i].width, i))
    for index in order:
        width = table.keys[index].width
        if width > 64:
            places[index] = Place(len(fill), 0)
            fill += [64] * words(width)
            continue
        word = next((w for w, used in enumerate(fill) if used + width <= 64), None)
        if word is None:
            word = len(fill)
            fill.append(0)
        places[index] = Place(word, fill[word])
        fill[word] += width
    return KeyLayout(tuple(places[i] for i in range(len(table.keys))), max(1, len(fill)))
