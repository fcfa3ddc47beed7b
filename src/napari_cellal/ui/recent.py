"""Where the person was last: the projects to go on with, and the folder where dialogs open."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path

import platformdirs

MOST = 5
_TEMPORARY = Path(tempfile.gettempdir()).resolve()
"""What lies below is gone soon, and so is not noted."""
_last_folder: list[Path] = []


def recent_file() -> Path:
    """Return where the list lies: it belongs to the person at this computer, not to a project."""
    return Path(platformdirs.user_cache_dir("napari-cellal", appauthor=False)) / "recent.json"


def projects() -> list[Path]:
    """Return the folders of the projects opened last, the last first.

    Whether they are still there is not asked: where a network drive is away that takes long.
    """
    try:
        known = json.loads(recent_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a file that is none of ours: nothing is lost
        return []
    return [Path(p) for p in known if isinstance(p, str)] if isinstance(known, list) else []


def note_project(place: Path) -> None:
    """Put a project first; where that cannot be written the list stays as it was."""
    if not place.is_relative_to(_TEMPORARY):
        _write([place, *(p for p in projects() if p != place)][:MOST])


def forget_project(place: Path) -> None:
    """Take a project off the list."""
    _write([p for p in projects() if p != place])


def _write(places: list[Path]) -> None:
    with contextlib.suppress(OSError):
        recent_file().parent.mkdir(parents=True, exist_ok=True)
        recent_file().write_text(json.dumps([str(p) for p in places]), encoding="utf-8")


def folder() -> str:
    """Return where a dialog opens: the folder chosen last, else beside the last project."""
    beside = [p.parent for p in projects()[:1]]
    return str(next((p for p in (*_last_folder, *beside) if p.is_dir()), Path.home()))


def note_folder(chosen: str) -> None:
    """Have the next dialog open where this file or folder lies."""
    _last_folder[:] = [Path(chosen).parent]
