"""Text of a network description to plain values, keeping the line of every key.

Pure. YAML 1.2 (ruamel) and JSON give the same plain values: None, bool, int, float, str, list and
dict with string keys. What the syntax itself forbids (broken text, a key given twice) is collected
here; what the values mean is checked elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from dfvisor.errors import Problem

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
Path: TypeAlias = tuple[str, ...]

_TAG = "tag:yaml.org,2002:"
_JSON_LINES_LIMIT_BYTES = 1 << 20  # YAML is slow: lines of a larger JSON file are not looked for


@dataclass(frozen=True, slots=True)
class Source:
    """Plain values, the 1-based line of each path, and what was wrong with the text."""

    value: Plain = None
    lines: Mapping[Path, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def show(path: Path) -> str:
    """A path as people read it: `vns.red.slices.gold`."""
    return ".".join(path) or "description"


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of the path, or of the record around it; 0 where the file does not have it."""
    for length in range(len(path), min(len(path), 2) - 1, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return 0


def read_yaml(text: str) -> Source:
    """Parse one YAML document."""
    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        return _broken(f"not YAML: {said}", mark.line + 1 if mark else 0)
    except ReaderError as error:
        line = text.count("\n", 0, error.position or 0) + 1
        return _broken(f"not YAML: character {error.character!r} is not allowed", line)
    except (YAMLError, RecursionError) as error:
        return _broken(f"not YAML: {error}", 0)
    walker = _Walker()
    value = walker.walk(node, ()) if node is not None else None
    return Source(value, walker.lines, tuple(walker.problems))


def read_json(text: str, *, locate: bool = True) -> Source:
    """Parse one JSON document.

    With `locate`, lines are looked for (slowly) in texts of up to 1 MiB that are YAML as well.
    """
    problems: list[Problem] = []

    def unique(pairs: list[tuple[str, Plain]]) -> dict[str, Plain]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [key for key, _ in pairs]
            for key in sorted({key for key in names if names.count(key) > 1}):
                problems.append(Problem(path=key, message=f"key {key!r} is given twice"))
        return found

    try:
        value = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        return _broken(f"not JSON: {error.msg}", error.lineno)
    except ValueError as error:  # a number of thousands of digits
        return _broken(f"not JSON: {error}", 0)
    except RecursionError:
        return _broken("not JSON: nested too deeply", 0)
    lines: Mapping[Path, int] = {}
    if locate and len(text) <= _JSON_LINES_LIMIT_BYTES:
        located = read_yaml(text)
        if located.value is not None:
            lines = located.lines
            problems = list(located.problems)
    return Source(value, lines, tuple(problems))


def _broken(message: str, line: int) -> Source:
    return Source(problems=(Problem(line=line, path=show(()), message=message),))


class _Walker:
    """Turns a tree of YAML nodes into plain values."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()  # nodes being walked: an alias to one of them never ends

    def walk(self, node: Node, path: Path) -> Plain:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path, line)
        if id(node) in self._open:
            self._problem(line, path, "an alias refers to what contains it")
            return None
        self._open.add(id(node))
        try:
            if isinstance(node, SequenceNode):
                return [self.walk(item, (*path, str(i))) for i, item in enumerate(node.value)]
            if isinstance(node, MappingNode):
                return self._mapping(node, path)
        finally:
            self._open.discard(id(node))
        self._problem(line, path, "neither a mapping, a list nor a value")
        return None

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._problem(line, path, "a key must be a name")
                continue
            key = str(key_node.value)
            inner = (*path, key)
            if key in found:
                first = self.lines[inner]
                self._problem(line, inner, f"key {key!r} is given twice (first in line {first})")
                continue
            self.lines[inner] = line
            found[key] = self.walk(value_node, inner)
        return found

    def _scalar(self, node: ScalarNode, path: Path, line: int) -> Plain:
        text = str(node.value)
        kind = str(node.tag).removeprefix(_TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on")
        try:
            if kind == "int":
                digits = text.replace("_", "")
                return int(digits, 0 if digits.lower().lstrip("+-")[:2] in _BASES else 10)
            if kind == "float":
                return float(text.replace("_", ""))
        except ValueError:
            return text
        if str(node.tag).startswith("!"):
            self._problem(line, path, f"tag {node.tag} is not understood")
        return text

    def _problem(self, line: int, path: Path, message: str) -> None:
        self.problems.append(Problem(line=line, path=show(path), message=message))


_BASES = ("0x", "0o", "0b")
