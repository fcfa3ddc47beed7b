"""One window or command at a time on a project."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from typing import TYPE_CHECKING

import filelock

from napari_cellal.core.errors import ProjectError
from napari_cellal.core.records import local_time, now

if TYPE_CHECKING:
    from pathlib import Path


class ProjectLock:
    """Holds a project folder. The operating system lets go when the process dies.

    Raises
    ------
    ProjectError
        If another process or window holds it, naming which, or the folder is read-only.
    """

    def __init__(self, folder: Path) -> None:
        self._lock = filelock.FileLock(folder / "project.lock", timeout=0)
        self._owner = folder / "project.owner.json"
        try:
            self._lock.acquire()
        except filelock.Timeout as error:
            raise ProjectError(
                f"{folder.name} is already open {self._who()}. Close it there first; "
                "two windows on one project would overwrite each other."
            ) from error
        except OSError as error:
            raise ProjectError(
                f"{folder.name} cannot be written ({error.strerror}). Copy the project to a "
                "folder where you may write."
            ) from error
        with contextlib.suppress(OSError):  # only the words of the message depend on it
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": now()}
            self._owner.write_text(json.dumps(owner), encoding="utf-8")

    def _who(self) -> str:
        try:
            owner = json.loads(self._owner.read_text(encoding="utf-8"))
            return (
                f"in process {owner['pid']} on {owner['host']} since {local_time(owner['since'])}"
            )
        except (OSError, ValueError, KeyError, TypeError):
            return "in another window"

    @property
    def is_held(self) -> bool:
        """Whether the folder is still ours."""
        return bool(self._lock.is_locked)

    def release(self) -> None:
        """Let go of the folder; a second time does nothing."""
        if not self.is_held:  # the owner's file may be another window's by now
            return
        with contextlib.suppress(OSError):
            self._owner.unlink()
        self._lock.release()
