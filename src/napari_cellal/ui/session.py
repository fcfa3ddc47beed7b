"""What one viewer works on: the project, the image, the cells in hand. The docks meet here."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import PORTION, History
from napari_cellal.core.records import Cell, Review, Status

from .last_image import last_image, note_image
from .works import Works

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from napari_cellal.core.geometry import Box
    from napari_cellal.core.history import Edit, Steps
    from napari_cellal.core.records import ImageRecord
    from napari_cellal.io.store import Project

LEAVING_S = 0.15
"""After so long a wait for the next cell the picture shows the answer, as `Workspace` does."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Which boxes are on the picture."""

    min_score: float = 0.0
    rejected: bool = False

    def includes(self, cell: Cell) -> bool:
        """Return whether the cell is shown; only open proposals fall to the score."""
        status = cell.status
        if status is Status.REJECTED:
            return self.rejected
        if status is Status.PROPOSED and self.min_score and cell.score is not None:
            return cell.score >= self.min_score
        return True


class Session:
    """One viewer's project and everything that is selected in it.

    Widgets listen to its signals and call its methods; they do not know each other.
    Main thread only.

    Parameters
    ----------
    later : callable or None
        Runs a function in a later turn of the window's loop. With it long edits are written
        in portions, between which the window hears mouse and keys; without, at once.

    Attributes
    ----------
    project_changed : Signal(Project or None)
    image_changed : Signal(image_id or None)
    images_changed : Signal()
        Images were added, or their split or finished mark changed.
    classes_changed : Signal()
    models_changed : Signal()
    edited : Signal(Edit)
        Rows changed; the edit is what was written.
    selection_changed : Signal(tuple of cell_id)
    concealed_changed : Signal(tuple of cell_id)
        These cells' classes were hidden, or are no longer.
    shown_changed : Signal(Shown)
    center_asked : Signal(Cell, zoom)
        The camera should go to a cell, or to the place of one that is no row;
        ``zoom`` says whether to zoom in too.
    told : Signal(text, is_error)
        A sentence for the person.
    """

    project_changed = Signal(object)
    image_changed = Signal(object)
    images_changed = Signal()
    classes_changed = Signal()
    models_changed = Signal()
    edited = Signal(object)
    selection_changed = Signal(object)
    concealed_changed = Signal(object)
    shown_changed = Signal(object)
    center_asked = Signal(object, bool)
    told = Signal(str, bool)

    def __init__(self, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self.works = Works(later, lambda text: self.tell(text, error=True))
        """Edits that are being written."""
        self.project: Project | None = None
        self.image_id: str | None = None
        self.selection: tuple[str, ...] = ()
        self.shown = Shown()
        self.focus: Cell | None = None
        self.concealed: str | None = None
        """The cell whose class nobody should see: what is said of it measures the model."""
        self.draw_class_id: int | None = None
        """The class that a newly drawn box gets: the one given last."""
        self._leaving_until = 0.0

    # -- telling --------------------------------------------------------------------------

    def tell(self, text: str, error: bool = False) -> None:
        """Show a sentence to the person."""
        self.told.emit(text, error)

    def tell_all(self, lines: Sequence[str]) -> None:
        """Show sentences together: one by one, each would take the place of the one before."""
        if lines:
            self.tell("\n".join(lines))

    # -- project --------------------------------------------------------------------------

    def open_project(self, project: Project) -> None:
        """Show a project, letting go of the one before."""
        self.close_project()
        self.project = project
        project.history.changed.connect(self._on_edit)
        project.images_changed.connect(self.images_changed.emit)
        project.classes_changed.connect(self._on_classes)
        project.models_changed.connect(self.models_changed.emit)
        first = next((c.class_id for c in project.active_classes), None)
        self.draw_class_id = first
        self.project_changed.emit(project)
        self.show_image(last_image(project))

    def close_project(self) -> None:
        """Let go of the project. Everything is saved already."""
        if self.project is None:
            return
        self.works.finish()
        project, self.project = self.project, None
        note_image(project, self.image_id)
        self.image_id = None
        self.selection = ()
        self.image_changed.emit(None)
        self.project_changed.emit(None)
        project.close()

    @property
    def person(self) -> str:
        """Whose gestures these are."""
        return self.project.person if self.project else ""

    # -- images ---------------------------------------------------------------------------

    @property
    def image(self) -> ImageRecord | None:
        """The image on screen."""
        if self.project is None or self.image_id is None:
            return None
        return self.project.images[self.image_id]

    def show_image(self, image_id: str | None, focus: Cell | None = None) -> None:
        """Put another image on screen; ``focus`` is taken in hand, boxes near it come first."""
        if image_id == self.image_id:
            return
        self.image_id = image_id
        self.focus = focus
        self.selection = () if focus is None else (focus.cell_id,)
        self.image_changed.emit(image_id)
        self.selection_changed.emit(self.selection)

    def step_image(self, by: int) -> None:
        """Go to the next (+1) or previous (-1) image; the ends do not wrap."""
        if self.project is None or not self.project.images:
            return
        ids = list(self.project.images)
        at = ids.index(self.image_id) if self.image_id in ids else -1
        to = at + by
        if 0 <= to < len(ids):
            self.show_image(ids[to])
        else:
            self.tell("This is the last image." if by > 0 else "This is the first image.")

    def finish_image(self) -> None:
        """Accept what is shown, mark the image finished and go on; or reopen a finished one."""
        image = self.image
        if image is None or self.project is None:
            return
        if image.finished:
            edit = gestures.reopen_image(image.image_id, image.name, self.person)
        else:
            edit = gestures.finish_image(image.image_id, image.name, self.cells(), self.person)
        if not self.do(edit):
            return
        if image.finished:
            self.tell(f"{image.name} is open again.")
            return
        lines = []
        if edit.after:
            n = len(edit.after)
            lines.append(f"{image.name}: {n} open box{'es' * (n != 1)} accepted as shown.")
        unclassed = sum(c is not None and c.class_id is None for c in edit.after.values())
        if unclassed:
            lines.append(
                f"Boxes of {image.name} without a class: {unclassed}. Learn asks for them, or "
                "Ctrl+Z."
            )
        ids = list(self.project.images)
        at = ids.index(image.image_id)
        order = ids[at + 1 :] + ids[:at]
        following = next((k for k in order if not self.project.images[k].finished), None)
        if following is None:
            lines.append("Every image is finished.")
        self.tell_all(lines)
        if following is not None:
            self.show_image(following)

    # -- cells ----------------------------------------------------------------------------

    def cells(self) -> list[Cell]:
        """Return the cells that are shown on the image, in the order of arrival."""
        if self.project is None or self.image_id is None:
            return []
        return [c for c in self.project.cells.of_image(self.image_id) if self.shown.includes(c)]

    def read_ahead(self, image_id: str) -> None:
        """Read the cells of an image that will probably be shown soon; of 4,000 it takes 40 ms."""
        if self.project is not None and not self.project.cells.is_crowded(image_id):
            self.project.cells.of_image(image_id)

    @property
    def is_crowded(self) -> bool:
        """True where the image has so many cells that only those in view are shown."""
        if self.project is None or self.image_id is None:
            return False
        return self.project.cells.is_crowded(self.image_id)

    def select(self, cell_ids: Iterable[str]) -> None:
        """Take cells in hand; the first is the current one."""
        chosen = tuple(dict.fromkeys(cell_ids))
        if chosen != self.selection:
            self.selection = chosen
            self.selection_changed.emit(chosen)

    @property
    def current(self) -> Cell | None:
        """The cell in hand, the first of the selection."""
        if self.project is None or not self.selection:
            return None
        return self.project.cells.get(self.selection[0])

    def selected(self) -> list[Cell]:
        """Return the cells in hand."""
        if self.project is None or not self.selection:
            return []
        rows = self.project.cells.rows(self.selection)
        return [c for c in rows.values() if c is not None]

    def step_cell(self, by: int) -> None:
        """Take the next (+1) or previous (-1) box in reading order, centred and zoomed."""
        if self.is_crowded:
            assert self.project is not None
            assert self.image_id is not None
            cell = self.project.cells.step(self.image_id, self.current, by, self.shown.includes)
            if cell is not None:
                self.go_to(cell)
            return
        order = sorted(self.cells(), key=lambda c: (c.box[0] + c.box[2], c.box[1]))
        if not order:
            self.tell("No boxes here yet. Detect, or draw one with W.")
            return
        ids = [c.cell_id for c in order]
        if self.selection and self.selection[0] in ids:
            at = (ids.index(self.selection[0]) + by) % len(ids)
        else:
            at = 0 if by > 0 else len(ids) - 1
        self.go_to(order[at])

    def go_to(self, cell: Cell, zoom: bool = True) -> None:
        """Show a cell's image, take the cell in hand and centre it."""
        self._leaving_until = 0.0
        self.show_image(cell.image_id, cell)
        self.select([cell.cell_id])
        self.center_asked.emit(cell, zoom)

    def look_at(self, image_id: str, box: Box) -> None:
        """Show a place where no cell is, centred as a cell would be."""
        self._leaving_until = 0.0
        self.show_image(image_id)
        self.select(())
        self.center_asked.emit(Cell("", image_id, box), True)

    def conceal(self, cell_id: str | None) -> None:
        """Hide the class of one cell, or of none."""
        before, self.concealed = self.concealed, cell_id
        if before != cell_id:
            self.concealed_changed.emit(tuple(key for key in (before, cell_id) if key))

    def leave(self) -> None:
        """Say that the next cell is on its way: what is on screen will hardly be seen again."""
        self._leaving_until = time.monotonic() + LEAVING_S

    @property
    def is_leaving(self) -> bool:
        """True from `leave` until the next cell is there or is late.

        The costly part of bringing the picture up to date can wait: it competes with the
        choice of the next cell for the processor.
        """
        return time.monotonic() < self._leaving_until

    def set_shown(self, **changes: Any) -> None:
        """Change which boxes are on the picture."""
        shown = replace(self.shown, **changes)
        if shown != self.shown:
            self.shown = shown
            self.shown_changed.emit(shown)

    # -- gestures -------------------------------------------------------------------------

    def do(self, edit: Edit) -> bool:
        """Write an edit; return False, having told why, where it could not be written."""
        if self.project is None:
            return False
        is_large = len(edit.after) > PORTION  # its portions stay together, for undo
        if is_large or self.works.has_alone:
            self.works.finish()
        try:
            if is_large:
                steps = self.project.history.do_steps(edit)
                next(steps)
                self.works.add(steps, lambda _n: None, alone=True)
            else:
                self.project.history.do(edit)
        except CellalError as error:
            self.tell(str(error), error=True)
            return False
        return True

    def give_class(self, class_id: int) -> bool:
        """Give the cells in hand a class, which confirms them; return whether any got it."""
        if self.project is None:
            return False
        name = self.project.classes[class_id].name
        self.draw_class_id = class_id
        cells = self.selected()
        if not cells:
            self.tell(f"Boxes you draw will be {name}. To class a box, click it first.")
            return False
        return self.do(gestures.give_class(cells, class_id, name, self.person))

    def accept(self) -> bool:
        """Confirm the cells in hand as they are."""
        cells = self.selected()
        if not cells:
            self.tell("Click a box first, or press Tab for the next one.")
            return False
        if any(c.class_id is None for c in cells):
            self.tell("Accepted as a cell; its class is still missing. Press its number.")
        return self.do(gestures.accept(cells, self.person))

    def mark_unsure(self) -> bool:
        """Set the cells in hand aside as unsure."""
        cells = self.selected()
        if not cells:
            self.tell("Click a box first; then 0 sets it aside.")
            return False
        return self.do(gestures.mark_unsure(cells, self.person))

    def remove(self) -> bool:
        """Reject proposals in hand, delete drawn boxes in hand."""
        cells = self.selected()
        if not cells:
            self.tell("Click a box first; then Delete rejects it.")
            return False
        done = self.do(gestures.remove(cells, self.person))
        gone = {c.cell_id for c in cells}
        self.select([k for k in self.selection if k not in gone])
        return done

    def draw(self, boxes: list[Box]) -> bool:
        """Add drawn boxes to the image."""
        if self.image_id is None:
            return False
        return self.do(gestures.draw(self.image_id, boxes, self.draw_class_id, self.person))

    def accept_above(self, score: float) -> int:
        """Confirm every open, classed proposal of the image at or above ``score``."""
        cells = [
            c
            for c in self.cells()
            if c.review is Review.OPEN
            and c.score is not None
            and c.score >= score
            and c.class_id is not None
        ]
        if not cells or not self.do(gestures.accept(cells, self.person)):
            return 0
        return len(cells)

    def undo(self) -> None:
        """Take back the last edit, whatever it was, and show where it was."""
        self._time_travel(History.undo_steps, "undo", "Undone")

    def redo(self) -> None:
        """Do again what was undone last."""
        self._time_travel(History.redo_steps, "redo", "Done again")

    def _time_travel(
        self, steps: Callable[[History], Steps[Edit | None]], which: str, word: str
    ) -> None:
        if self.project is None:
            return
        self.works.finish()
        self.works.add(
            steps(self.project.history),
            lambda edit: self._on_travelled(edit, which, word),
            alone=True,
        )

    def _on_travelled(self, edit: Edit | None, which: str, word: str) -> None:
        if edit is None:
            self.tell(f"Nothing to {which}.")
            return
        touched = set() if edit.run else edit.image_ids
        if touched and self.image_id not in touched and len(touched) == 1:
            self.show_image(next(iter(touched)))
        self.tell(f"{word}: {edit.label}.")

    def _on_classes(self) -> None:
        assert self.project is not None
        active = [c.class_id for c in self.project.active_classes]
        if self.draw_class_id not in active:  # retired, or the first class of all
            self.draw_class_id = next(iter(active), None)
        self.classes_changed.emit()

    def _on_edit(self, edit: Edit) -> None:
        gone = {key for key, row in edit.after.items() if row is None}
        if gone.intersection(self.selection):
            self.select([k for k in self.selection if k not in gone])
        self.edited.emit(edit)
        if edit.finished:
            self.images_changed.emit()
