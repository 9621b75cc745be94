"""Records by name, of which a changed copy costs what has changed: pure.

All copies that came from one another share one dict. It holds the content of the copy that was
looked at last; each of the others knows what differs from the copy that it is next to (version
trees by rerooting, H. G. Baker, "Shallow binding makes functional arrays fast", 1991). So looking
at the newest of them costs as much as a dict, and looking at an older one first undoes what came
since. Two copies are compared along the way between them. A copy of which most is new gets a dict
of its own, and knows what it came from as long as that one is there.

Going through all records goes through those of the moment when that began, whatever is looked at
meanwhile. Not to be used by two threads at once: looking changes what is behind.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Generic, TypeAlias, TypeVar
from weakref import ref

T = TypeVar("T")


class _Gone:
    """Stands for: there is no such record."""


_GONE = _Gone()


class Named(Mapping[str, T], Generic[T]):
    """`Named(records)` takes the dict over: nobody else may change it from then on."""

    __slots__ = ("__weakref__", "_changes", "_data", "_known", "_next")
    __hash__ = None  # type: ignore[assignment]  # as dict

    def __init__(self, records: dict[str, T] | None = None) -> None:
        self._data: dict[str, T] | None = {} if records is None else records
        self._next: Named[T] | None = None  # None: `_data` is the content
        self._changes: dict[str, T | _Gone] = {}  # to the content of the next one
        self._known: tuple[ref[Named[T]], dict[str, T | None]] | None = None  # what differs

    # -- looking

    def _here(self) -> dict[str, T]:
        """The content; from now on the others lead here."""
        data = self._data
        return self._turn() if data is None else data

    def _turn(self) -> dict[str, T]:
        way: list[Named[T]] = [self]
        while (following := way[-1]._next) is not None:
            way.append(following)
        data = way[-1]._data
        assert data is not None, "the last one holds the content"
        for place in range(len(way) - 2, -1, -1):
            one, before = way[place], way[place + 1]
            back: dict[str, T | _Gone] = {}
            for name, record in one._changes.items():
                back[name] = data.get(name, _GONE)
                if isinstance(record, _Gone):
                    data.pop(name, None)
                else:
                    data[name] = record
            before._data, before._next, before._changes = None, one, back
            one._data, one._next, one._changes = data, None, {}
        return data

    def __getitem__(self, name: str) -> T:
        return self._here()[name]

    def __contains__(self, name: object) -> bool:
        return name in self._here()

    def __len__(self) -> int:
        return len(self._here())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._here()))

    def get(self, name: str, default: Any = None) -> Any:
        return self._here().get(name, default)

    def keys(self) -> KeysView[str]:
        return self.plain().keys()

    def values(self) -> ValuesView[T]:
        return self.plain().values()

    def items(self) -> ItemsView[str, T]:
        return self.plain().items()

    def plain(self) -> dict[str, T]:
        """A dict of its own."""
        return self._here().copy()

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Named):
            found = self._since(other)
            return self._here() == other._here() if found is None else not found
        return self._here() == other if isinstance(other, dict) else NotImplemented

    def __repr__(self) -> str:
        return f"Named({self._here()!r})"

    # -- changing

    def __or__(self, other: Mapping[str, T]) -> Named[T]:
        """With these records, or these instead of those of the same names."""
        return self.changed(other)

    def __ror__(self, other: Mapping[str, T]) -> dict[str, T]:
        return {**other, **self.plain()}

    def changed(self, change: Mapping[str, T | None]) -> Named[T]:
        """With these records; None: without. Those that are equal to what is there stay what they
        are. The same object if that makes no difference.
        """
        data = self._here()
        back: dict[str, T | _Gone] = {}
        for name, record in change.items():
            held = data.get(name, _GONE)
            if record is None:
                if held is not _GONE:
                    back[name] = held
            elif held is not record and (held is _GONE or held != record):
                back[name] = held
        if not back:
            return self
        found = dict(change) if len(back) == len(change) else {name: change[name] for name in back}
        for name, record in found.items():
            if record is None:
                del data[name]
            else:
                data[name] = record
        made: Named[T] = Named(data)
        made._known = (ref(self), found)
        self._data, self._next, self._changes = None, made, back
        return made

    def replaced(self, records: dict[str, T]) -> Named[T]:
        """With these records and no others; the dict is taken over. Otherwise as `changed`."""
        data = self._here()
        if len(records) <= 2 * len(data):
            return self.changed(differing(data, records))
        found: dict[str, T | None] = {**records}  # most is new: rather a dict of its own
        for name, held in data.items():
            record = records.get(name)
            if record is None:
                found[name] = None
            elif held is record or held == record:
                records[name] = held
                del found[name]
        made = Named(records)
        made._known = (ref(self), found)
        return made

    # -- comparing

    def _since(self, old: Named[T]) -> dict[str, T | None] | None:
        """What makes this one out of the old one; None where they did not come from one another.

        Asked by many of the same two, and then answered once.
        """
        if self._known is not None and self._known[0]() is old:
            return self._known[1]
        if old._known is not None and old._known[0]() is self:
            content = self._here()
            self._known = (ref(old), {name: content.get(name) for name in old._known[1]})
            return self._known[1]
        touched = old._until(self)
        if touched is not None:  # the old one's; what comes first is what is looked at most
            data = self._here()
            pairs = [(name, held, data.get(name, _GONE)) for name, held in touched.items()]
        else:
            before = old._here()
            touched = self._until(old)
            if touched is None:
                return None
            pairs = [(name, before.get(name, _GONE), record) for name, record in touched.items()]
        found: dict[str, T | None] = {
            name: None if isinstance(record, _Gone) else record
            for name, held, record in pairs
            if held is not record and held != record
        }
        self._known = (ref(old), found)
        return found

    def _until(self, other: Named[T]) -> dict[str, T | _Gone] | None:
        """What this has of all that may differ from the other; None if it does not lead there."""
        touched: dict[str, T | _Gone] = {}
        at: Named[T] = self
        while at is not other:
            if at._next is None:
                return None
            if not touched:
                touched = at._changes.copy()
            else:
                for name, record in at._changes.items():
                    touched.setdefault(name, record)
            at = at._next
        return touched


Records: TypeAlias = dict[str, T] | Named[T]
"""Records by name, with or without that."""


def differing(old: Mapping[str, T], new: Mapping[str, T]) -> Mapping[str, T | None]:
    """What makes `new` out of `old`: records that came or differ, and None for those that went.

    Costs what differs if both are `Named` and came from one another; otherwise every record is
    looked at, which costs a few nanoseconds for those that are the same objects.
    """
    if old is new:
        return {}
    if isinstance(old, Named) and isinstance(new, Named):
        known = new._since(old)
        if known is not None:
            return known
    old, new = content(old), content(new)
    found: dict[str, T | None] = {}
    for name, record in new.items():
        held = old.get(name)
        if held is not record and held != record:
            found[name] = record
    if len(old) != len(new) or old.keys() != new.keys():
        found |= dict.fromkeys(old.keys() - new.keys())
    return found


def content(records: Mapping[str, T]) -> Mapping[str, T]:
    """The same to look at, with nothing in between, as long as nobody looks at another copy."""
    return records._here() if isinstance(records, Named) else records


def named(records: Records[T]) -> Named[T]:
    """The records as `Named`; the same object if they are that already."""
    return records if isinstance(records, Named) else Named(dict(records))
