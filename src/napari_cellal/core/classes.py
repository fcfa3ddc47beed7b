"""The rules about classes: names are told apart, and a key belongs to one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .errors import ProjectError
from .records import CLASS_COLORS, CellClass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def find_class(classes: Iterable[CellClass], name: str) -> CellClass | None:
    """Return the class of that name; the exact spelling wins over another case."""
    same = [c for c in classes if c.name.casefold() == name.strip().casefold()]
    exact = [c for c in same if c.name == name.strip()]
    return next(iter(exact or same), None)


def with_names(
    classes: Collection[CellClass], names: Iterable[str]
) -> tuple[list[CellClass], list[CellClass]]:
    """Return the class of every name, and those of them that are new or come back.

    New ones get the next id, a colour and a free key; empty names are passed over.
    """
    result: list[CellClass] = []
    added: list[CellClass] = []
    keys = {c.shortcut for c in classes if not c.retired}
    for name in (n.strip() for n in names):
        if not name:
            continue
        found = next((c for c in added if c.name.casefold() == name.casefold()), None)
        found = found or find_class(classes, name)
        if found is None:
            class_id = max((c.class_id for c in (*classes, *added)), default=0) + 1
            color = CLASS_COLORS[(class_id - 1) % len(CLASS_COLORS)]
            found = CellClass(class_id, name, color, _free_key(str(class_id), keys))
            added.append(found)
        elif found.retired:
            key = _free_key(found.shortcut, keys) if found.shortcut else ""
            found = replace(found, retired=False, shortcut=key)
            added.append(found)
        keys.add(found.shortcut)
        result.append(found)
    return result, added


def checked(changed: CellClass, classes: Iterable[CellClass]) -> CellClass:
    """Return a class as it is to stand among the others.

    Raises
    ------
    ProjectError
        If another one has that name or key, or the name is none.
    """
    name = changed.name.strip()
    for other in classes:
        if other.class_id == changed.class_id:
            continue
        if other.name.casefold() == name.casefold():
            retired = " (retired)" if other.retired else ""
            raise ProjectError(f"There is a class {other.name}{retired} already.")
        if other.retired or changed.retired:
            continue
        if changed.shortcut and other.shortcut == changed.shortcut:
            raise ProjectError(f"The key {changed.shortcut} belongs to {other.name}.")
    if not name:
        raise ProjectError("A class needs a name.")
    if "," in name:
        raise ProjectError("A class's name has no comma: commas stand between names.")
    return replace(changed, name=name)


def _free_key(wanted: str, taken: set[str]) -> str:
    free = [d for d in "123456789" if d not in taken]
    return wanted if wanted in free else next(iter(free), "")
