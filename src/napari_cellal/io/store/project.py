"""A project folder, open."""

from __future__ import annotations

import getpass
import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from pydantic import TypeAdapter, ValidationError

from napari_cellal.core.classes import checked, find_class, with_names
from napari_cellal.core.errors import ProjectError
from napari_cellal.core.history import History
from napari_cellal.core.records import (
    CellClass,
    ImageRecord,
    ModelRecord,
    Plane,
    Split,
)
from napari_cellal.core.settings import ProjectSettings
from napari_cellal.io.composites import Composite

from .cells import CellTable
from .lock import ProjectLock
from .removal import delete_images
from .scans import ScanTable
from .schema import (
    DATABASE,
    create_database,
    note_closed,
    open_database,
    readable_errors,
    require_database,
    transaction,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

_IMAGE = TypeAdapter(ImageRecord)
_MODEL = TypeAdapter(ModelRecord)
SUFFIX = ".cellal"


def _person() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no such user: containers, some Windows services
        return "person"


class Project:
    """A project folder, open and locked. Everything done to it is saved at once.

    Use `Project.create` or `Project.open`; `close` lets go of the folder. Main thread only.

    Attributes
    ----------
    folder : Path
    cells : CellTable
        Asking for rows.
    history : History
        The only way to change cells; its ``changed`` tells of every edit.
    scans : ScanTable
        How far scans are.
    images_changed, classes_changed, models_changed : Signal
        Emitted after images were added, removed or split, classes or models changed.
    """

    images_changed = Signal()
    classes_changed = Signal()
    models_changed = Signal()

    def __init__(self, folder: Path) -> None:
        if folder.is_file():
            raise ProjectError(
                f"{folder} is a file, and a project is a folder that ends in .cellal."
            )
        if not folder.is_dir():
            raise ProjectError(f"{folder} is not there. Check the name, or make a new project.")
        self.folder = folder.resolve()
        self.person = _person()
        name = self.folder.name
        require_database(self.folder / DATABASE, name)  # no lock file in a folder of other things
        self._lock = ProjectLock(self.folder)
        try:
            self._db = open_database(self.folder / DATABASE, name)
            self.cells = CellTable(self._db, name)
            self.history = History(self.cells)
            self.scans = ScanTable(self._db, name)
            self._images: dict[str, ImageRecord] = {}
            self._classes: dict[int, CellClass] = {}
            with readable_errors(name):
                self._load()
                self._tidy_models()
        except BaseException:  # Ctrl+C too: the lock must not stay
            if hasattr(self, "_db"):
                self._db.close()
            self._lock.release()
            raise
        self.history.changed.connect(self._on_edit)

    # -- opening and closing --------------------------------------------------------------

    @classmethod
    def create(cls, folder: str | os.PathLike[str], classes: Sequence[str] = ()) -> Project:
        """Return a new, open project; ``.cellal`` is added to the name where it is missing.

        Raises
        ------
        ProjectError
            If the folder exists or cannot be written.
        """
        target = Path(folder)
        try:
            if target.suffix != SUFFIX:
                target = target.with_name(target.name + SUFFIX)
            if target.exists():
                raise ProjectError(f"{target} exists already. Open it, or choose another name.")
        except (OSError, ValueError) as error:  # an empty or a far too long name
            raise ProjectError(f"'{folder}' cannot be the name of a project.") from error
        # Built beside and renamed: a half-made project never carries the name.
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
        try:
            draft.mkdir(parents=True)
            (draft / "models").mkdir()
            (draft / "cache").mkdir()
            with readable_errors(target.name):
                create_database(draft / DATABASE)
            draft.rename(target)
        except OSError as error:
            raise ProjectError(
                f"{target} cannot be made ({error.strerror}). Choose a folder where you may write."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        project = cls(target)
        project.add_classes(classes)
        return project

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> Project:
        """Return the project in ``folder``, open and locked; ``.cellal`` may be left out.

        Raises
        ------
        ProjectError
            If it is missing, damaged, from a newer version, read-only or open elsewhere.
        """
        target = Path(folder)
        if target.suffix != SUFFIX and not (target / DATABASE).exists():
            named = target.with_name(target.name + SUFFIX) if target.name else target
            target = named if named.is_dir() else target
        return cls(target)

    def close(self) -> None:
        """Let go of the folder. Nothing is left to save."""
        self._db.close()
        if self._lock.is_held:  # closed a second time, it may be another window's by now
            note_closed(self.folder / DATABASE)
        self._lock.release()

    def __enter__(self) -> Project:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """The folder's name without its suffix."""
        return self.folder.stem

    def _load(self) -> None:
        rows = self._db.execute("SELECT record, finished FROM images ORDER BY image_no")
        for text, finished in rows.fetchall():
            record = replace(_IMAGE.validate_json(text), finished=bool(finished))
            self._images[record.image_id] = record
        rows = self._db.execute(
            "SELECT class_id, name, color, shortcut, retired FROM classes ORDER BY class_id"
        )
        for class_id, name, color, shortcut, retired in rows.fetchall():
            self._classes[class_id] = CellClass(class_id, name, color, shortcut, bool(retired))

    def _tidy_models(self) -> None:
        """Register models that were written but not registered, and drop half-written ones.

        Both are left behind by a process that was killed at the end of a training, or by a
        training that ended after its project was closed.
        """
        known = {m.model_id for m in self.models}
        for folder in (self.folder / "models").glob("*"):
            if folder.name.startswith("."):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.name not in known:
                try:
                    record = _MODEL.validate_json((folder / "card.json").read_bytes())
                except (OSError, ValidationError):
                    continue  # not a model; a person's own folder stays
                if record.model_id == folder.name:
                    self.add_model(record)

    def _on_edit(self, edit: Any) -> None:
        for image_id, (_, mark) in edit.finished.items():
            self._images[image_id] = replace(self._images[image_id], finished=mark)

    # -- settings -------------------------------------------------------------------------

    @property
    def settings(self) -> ProjectSettings:
        """What changes results, as stored with the project."""
        with readable_errors(self.folder.name):
            row = self._db.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
        if row is None:
            return ProjectSettings()
        try:
            return ProjectSettings.model_validate_json(row[0])
        except ValidationError as error:
            raise ProjectError(
                f"{self.folder.name}: its settings are damaged ({error.error_count()} values)."
            ) from error

    @settings.setter
    def settings(self, value: ProjectSettings) -> None:
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES ('settings', ?)", (value.model_dump_json(),)
            )

    def composite(self, kind: str) -> Composite | None:
        """Return the stored map from channels to colour, ``colors`` or ``pca``, if there is one."""
        with readable_errors(self.folder.name):
            row = self._db.execute(
                "SELECT value FROM meta WHERE key = ?", (f"composite:{kind}",)
            ).fetchone()
            return None if row is None else Composite.from_dict(json.loads(row[0]))

    def set_composite(self, composite: Composite) -> None:
        """Store a map from channels to colour in place of the one of its kind."""
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                (f"composite:{composite.kind}", json.dumps(composite.as_dict())),
            )

    # -- images ---------------------------------------------------------------------------

    @property
    def images(self) -> Mapping[str, ImageRecord]:
        """The images by id, in the order in which they were added."""
        return self._images

    def add_images(self, records: Iterable[ImageRecord]) -> None:
        """Write new images, all or none."""
        fresh = list(records)
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.executemany(
                "INSERT INTO images(image_id, path, finished, record) VALUES (?, ?, ?, ?)",
                [
                    (r.image_id, r.path, int(r.finished), _IMAGE.dump_json(r).decode())
                    for r in fresh
                ],
            )
        self._images.update({r.image_id: r for r in fresh})
        self.images_changed.emit()

    def remove_images(self, image_ids: Iterable[str]) -> None:
        """Take images out, with their cells, all or none. Their files stay as they are.

        It cannot be undone. What was done to these images leaves the history; undo goes on
        with the steps on the others.
        """
        gone = set(image_ids) & self._images.keys()
        with readable_errors(self.folder.name), transaction(self._db):
            delete_images(self._db, gone)
        self.cells.forget(gone)
        self._images = {key: r for key, r in self._images.items() if key not in gone}
        self.images_changed.emit()

    def set_split(self, image_ids: Iterable[str], split: Split) -> None:
        """Say what images are for. Meant for official splits, before anything was learned."""
        self.replace_images([replace(self._images[key], split=split) for key in image_ids])

    def replace_images(self, changed: Sequence[ImageRecord]) -> None:
        """Write anew what is known of images that are there, all or none."""
        if not changed:
            return
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.executemany(
                "UPDATE images SET path = ?, record = ? WHERE image_id = ?",
                [(r.path, _IMAGE.dump_json(r).decode(), r.image_id) for r in changed],
            )
        self._images.update({r.image_id: r for r in changed})
        self.images_changed.emit()

    def image_path(self, image_id: str) -> Path:
        """Return where the image's file should be, absolute."""
        return self._absolute(self._images[image_id].path)

    def plane(self, image_id: str) -> Plane:
        """Return which part of its file, or files, an image is."""
        r = self._images[image_id]
        files = tuple(str(self._absolute(f)) for f in r.files)
        return Plane(r.scene, r.t, r.z, files, r.fingerprint, r.stamp)

    def _absolute(self, stored: str) -> Path:
        path = Path(stored)
        return path if path.is_absolute() else self.folder.parent / path

    def stored_path(self, path: Path) -> str:
        """Return the path as it is stored: relative where the file lies beside the project."""
        path = path.resolve()
        try:
            return path.relative_to(self.folder.parent).as_posix()
        except ValueError:
            return str(path)

    # -- classes --------------------------------------------------------------------------

    @property
    def classes(self) -> Mapping[int, CellClass]:
        """The classes by id, retired ones too."""
        return self._classes

    @property
    def active_classes(self) -> list[CellClass]:
        """The classes that cells may be given."""
        return [c for c in self._classes.values() if not c.retired]

    def class_named(self, name: str) -> CellClass | None:
        """Return the class of that name; the exact spelling wins over another case."""
        return find_class(self._classes.values(), name)

    def add_classes(self, names: Iterable[str]) -> list[CellClass]:
        """Add classes that are not there yet and return the class of every name."""
        result, added = with_names(self._classes.values(), names)
        self._write_classes(added)
        return result

    def update_class(self, changed: CellClass) -> None:
        """Rename, recolour, retire a class or give it another key.

        Raises
        ------
        ProjectError
            If another class has that name or key, or the name is none.
        """
        self._write_classes([checked(changed, self._classes.values())])

    def _write_classes(self, classes: list[CellClass]) -> None:
        if not classes:
            return
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.executemany(
                "INSERT OR REPLACE INTO classes VALUES (?, ?, ?, ?, ?)",
                [(c.class_id, c.name, c.color, c.shortcut, int(c.retired)) for c in classes],
            )
        self._classes.update({c.class_id: c for c in classes})
        self.classes_changed.emit()

    # -- models ---------------------------------------------------------------------------

    @property
    def models(self) -> list[ModelRecord]:
        """The cards of the project's models, oldest first."""
        with readable_errors(self.folder.name):
            rows = self._db.execute("SELECT card FROM models ORDER BY rowid").fetchall()
        return [_MODEL.validate_json(text) for (text,) in rows]

    def add_model(self, record: ModelRecord) -> None:
        """Register a model whose files lie in `model_folder`."""
        with readable_errors(self.folder.name), transaction(self._db):
            self._db.execute(
                "INSERT INTO models VALUES (?, ?)"
                " ON CONFLICT(model_id) DO UPDATE SET card = excluded.card",
                (record.model_id, _MODEL.dump_json(record).decode()),
            )
        self.models_changed.emit()

    def model_folder(self, model_id: str) -> Path:
        """Return where a model's card and weights lie."""
        return self.folder / "models" / model_id

    @property
    def cache_folder(self) -> Path:
        """Where computed things lie that may be deleted at any time.

        Raises
        ------
        ProjectError
            If there is no such folder and none can be made.
        """
        folder = self.folder / "cache"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ProjectError(
                f"{self.name}: its folder 'cache' cannot be made ({error.strerror}). Delete what "
                "has that name, or make room; nothing in it is needed."
            ) from error
        return folder
