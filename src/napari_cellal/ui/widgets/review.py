"""The Review dock: what the cell in hand is, and what a person says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QGridLayout, QLabel, QWidget
from superqt import QCollapsible, QElidingLabel

from napari_cellal.core.records import Status, local_time
from napari_cellal.ui.controls import SpinBox, button, empty, heading, note, row, swatch
from napari_cellal.ui.crop_view import CropView
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.words import STATUS_WORDS

from .why import WhyPanel

if TYPE_CHECKING:
    from napari_cellal.core.records import Cell
    from napari_cellal.ui.workspace import Workspace

CROP_PX = 84
_VOUCHED = (Status.CONFIRMED, Status.CORRECTED, Status.DRAWN)


class ReviewDock(Dock):
    """Counts per class, the cell in hand, and a button for every gesture that has a key."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.needs = Needs()
        self.add(self.needs)
        self.page = QWidget()
        self._build()
        self.add(self.page)
        self.column.addStretch(1)
        self._keys = QCollapsible("Keys (? shows them too)")
        self._keys.setToolTip("What the keyboard does while the image has the focus")
        self.add(self._keys)
        self._fill_keys()

        self.listen(
            (session.project_changed, self.refresh),
            (session.image_changed, self.refresh),
            (session.images_changed, self.refresh),
            (session.classes_changed, self.refresh),
            (session.edited, self.refresh),
            (session.selection_changed, self._on_selection),
            (session.models_changed, self.why.refresh),
            (session.project_changed, self.why.refresh),
            (session.project_changed, self.why.forget),
            (session.image_changed, self.why.forget),
        )
        self.refresh()

    def disconnect_session(self) -> None:
        """Stop listening and reading, before the window closes."""
        super().disconnect_session()
        self.crop.close()
        self.why.close_pictures()

    def _build(self) -> None:
        session = self.session
        self._class_grid = QGridLayout()
        self._class_grid.setSpacing(3)
        self._class_buttons: list[QWidget] = []
        self._title = heading("Cell in hand")
        self._class = QElidingLabel()
        self._score = QElidingLabel()
        self._status = note()
        self._origin = note()
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Class", self._class)
        form.addRow("Score", self._score)
        form.addRow("State", self._status)
        form.addRow("Made by", self._origin)
        about = QWidget()
        about.setLayout(form)
        images = self.workspace.images
        self.crop = CropView(session, images, CROP_PX, "The cell in hand")
        images.shown.connect(self._on_pixels)
        images.looks.changed.connect(self._on_pixels)
        channels = self.workspace.channels
        self._channel_buttons = row(
            button("Next channel", "One channel alone, the next, all together (C)", channels.step),
            button(
                "Auto contrast",
                "Scale every channel by each image's own brightness again (Shift+C). What you set "
                "in napari's layer controls is otherwise kept for all images.",
                channels.make_automatic,
            ),
        )
        self.why = WhyPanel(self.workspace)
        classes = QWidget()
        classes.setLayout(self._class_grid)

        self._threshold = SpinBox(
            0, 1, 0.05, 0.9, "Proposals at or above this score are accepted; 0 to 1"
        )
        self._threshold.setFixedWidth(80)
        self._undo = button(
            "Undo", "Take back the last step, whatever it was (Ctrl+Z)", session.undo
        )
        self._redo = button("Redo", "Do again what was undone last (Ctrl+Shift+Z)", session.redo)
        self._finish = button(
            "Image finished",
            "Every cell of this image has its box and every box is right: accepts the open boxes "
            "that are shown and goes to the next image (F). Only finished images teach the "
            "detector what is background.",
            session.finish_image,
            main=True,
        )
        self._counts = note()

        column = [
            heading("Classes: click or press the number"),
            classes,
            self._title,
            row(self.crop.composite, about),
            self.crop.channels,
            self._channel_buttons,
            self.why,
            row(
                button("Accept", "Right as it is (Enter)", session.accept),
                button("Reject", "Not a cell; a drawn box is deleted (Delete)", session.remove),
                button("Unsure", "Set aside (0)", session.mark_unsure),
            ),
            row(
                button("‹ Previous", "The box before, centred (Shift+Tab)", self._previous),
                button("Next ›", "The next box, centred (Tab)", self._next),
                button("Draw", "Draw a box (W): drag from corner to corner", self._draw),
            ),
            row(
                button(
                    "Accept all above",
                    "Confirm every proposal of this image with at least this score, in one step",
                    self._accept_above,
                ),
                self._threshold,
            ),
            row(self._undo, self._redo),
            self._counts,
            self._finish,
        ]
        from qtpy.QtWidgets import QVBoxLayout

        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        for widget in column:
            layout.addWidget(widget)

    def _next(self) -> None:
        self.session.step_cell(1)

    def _previous(self) -> None:
        self.session.step_cell(-1)

    def _draw(self) -> None:
        self.workspace.toggle_drawing()

    def _accept_above(self) -> None:
        score = self._threshold.value()
        n = self.session.accept_above(score)
        if n:
            self.session.tell(f"Accepted {n} proposals with a score of {score:.2f} or more.")
        else:
            self.session.tell(f"No proposal with a class has a score of {score:.2f} or more here.")

    def _fill_keys(self) -> None:
        lines = "".join(
            f"<tr><td width=84><b>{c.keys.replace(' / ', '<br>')}</b></td><td>{c.does}</td></tr>"
            for c in self.workspace.keys.commands
        )
        label = note(f"<table>{lines}</table>")
        self._keys.addWidget(label)

    def show_keys(self) -> None:
        """Unfold the key list."""
        self._keys.expand(animate=False)
        self.ensureWidgetVisible(self._keys)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show the session's state, when the dock is on screen."""
        self.when_seen(self._show_all)

    def _show_all(self) -> None:
        project = self.session.project
        image = self.session.image
        self.page.setVisible(image is not None)
        if project is None or image is None:
            self.needs.say(
                "Nothing to review yet: open a project with images first.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock makes and opens projects",
            )
            return
        self.needs.hide()
        self._show_classes()
        self._show_current()
        undo, redo = project.cells.edit_labels()
        self._undo.setEnabled(bool(undo))
        self._redo.setEnabled(bool(redo))
        self._undo.setToolTip(f"Undo: {undo} (Ctrl+Z)" if undo else "Nothing to undo (Ctrl+Z)")
        self._redo.setToolTip(
            f"Redo: {redo} (Ctrl+Shift+Z)" if redo else "Nothing to redo (Ctrl+Shift+Z)"
        )
        counts = project.cells.counts_of(image.image_id)
        done = sum(counts.get(s, 0) for s in _VOUCHED)
        open_ = counts.get(Status.PROPOSED, 0) + counts.get(Status.IMPORTED, 0)
        text = f"This image: {done} reviewed, {open_} to look at"
        if counts.get(Status.UNSURE):
            text += f", {counts[Status.UNSURE]} unsure"
        if counts.get(Status.REJECTED):
            text += f", {counts[Status.REJECTED]} rejected"
        self._counts.setText(text + ".")
        self._finish.setText("Finished: open it again" if image.finished else "Image finished")

    def _show_classes(self) -> None:
        project = self.session.project
        assert project is not None
        done: dict[int | None, int] = {}
        waiting: dict[int | None, int] = {}
        for (status, class_id), n in project.cells.counts().items():
            if status in _VOUCHED:
                done[class_id] = done.get(class_id, 0) + n
            elif status in (Status.PROPOSED, Status.IMPORTED):
                waiting[class_id] = waiting.get(class_id, 0) + n
        classes = project.active_classes
        wanted = [(c.class_id, c.name, c.color, c.shortcut) for c in classes]
        if wanted != getattr(self, "_class_rows", None):
            self._class_rows = wanted
            self._class_counts: list[QLabel] = []
            empty(self._class_grid)
            for i, c in enumerate(classes):
                key = f"{c.shortcut}  " if c.shortcut else ""
                press = button(
                    f"{key}{c.name}",
                    f"Give the selected boxes the class {c.name}"
                    + (f" ({c.shortcut})" if c.shortcut else ""),
                    lambda class_id=c.class_id: self.workspace.press_class(class_id),
                )
                press.setIcon(swatch(c.color))
                counts = QLabel()
                counts.setToolTip("Confirmed in the whole project, and proposed")
                self._class_counts.append(counts)
                self._class_grid.addWidget(press, i, 0)
                self._class_grid.addWidget(counts, i, 1)
            if not classes:
                go = button(
                    "No classes yet: name them in Project",
                    "Shows the Project dock, where classes are named: RBC, WBC, Platelets",
                    lambda: self.workspace.raise_dock("Project"),
                )
                self._class_grid.addWidget(go, 0, 0, 1, 2)
            self._others = [(QLabel(text), QLabel()) for text in ("No class yet", "Retired")]
            for i, labels in enumerate(self._others, max(1, len(classes))):
                for column, label in enumerate(labels):
                    label.setToolTip(
                        "Of no class above: confirmed in the whole project, and proposed"
                    )
                    self._class_grid.addWidget(label, i, column)
            self._class_grid.setColumnStretch(0, 3)
            self._class_grid.setColumnStretch(1, 2)
        for label, c in zip(self._class_counts, classes, strict=True):
            label.setText(_counted(done.get(c.class_id, 0), waiting.get(c.class_id, 0)))
        retired = {*done, *waiting} - {c.class_id for c in classes} - {None}
        for labels, ids in zip(self._others, ({None}, retired), strict=True):
            n, open_ = (sum(counts.get(k, 0) for k in ids) for counts in (done, waiting))
            labels[1].setText(_counted(n, open_))
            for label in labels:
                label.setVisible(n + open_ > 0)

    def _on_selection(self, *_: object) -> None:
        self.when_seen(self._show_current)

    def _on_pixels(self, *_: object) -> None:
        self.when_seen(self._show_crop)

    def _show_crop(self) -> None:
        self.crop.show_cell(self.session.current)
        self._channel_buttons.setVisible(bool(self.workspace.images.looks.channels))

    def _show_current(self) -> None:
        project, cell = self.session.project, self.session.current
        self._show_crop()
        n = len(self.session.selection)
        if project is None or cell is None:
            self._title.setText("<b>Cell in hand</b>: none. Click a box, or press Tab")
            for label in (self._class, self._score, self._status, self._origin):
                label.setText("–")
            self._score.setToolTip("")
            return
        self._title.setText(
            f"<b>{n} cells in hand</b>, the first:" if n > 1 else "<b>Cell in hand</b>"
        )
        self._class.setText(self._class_name(cell.class_id))
        self._show_score(cell)
        self._status.setText(STATUS_WORDS[cell.status])
        self._origin.setText(self._provenance(cell))

    def _show_score(self, cell: Cell) -> None:
        """Show what the model said, whatever a person said since."""
        said = cell.proposed
        if said is None:
            self._score.setText("–")
            self._score.setToolTip("No model proposed this cell")
            return
        ranked = sorted(said.probabilities, key=lambda pair: -pair[1])
        words = [f"{self._class_name(class_id)} {p:.2f}" for class_id, p in ranked]
        self._score.setText(f"{said.score:.2f}" + (f" ({words[0]})" if words else ""))
        tip = "How sure the model was that a cell is here, 0 to 1."
        if words:
            tip += f" Its probability of each class: {', '.join(words)}."
        self._score.setToolTip(tip)

    def _class_name(self, class_id: int | None) -> str:
        project = self.session.project
        if class_id is None or project is None:
            return "no class yet"
        return project.classes[class_id].name

    def _provenance(self, cell: Cell) -> str:
        made = {"model": "a model", "person": "a person", "import": "import"}[cell.origin.value]
        if cell.proposed is not None:
            made = self.workspace.model_name(cell.proposed.model_id)
            if cell.status is Status.CORRECTED:
                made += f" (said {self._class_name(cell.proposed.class_id)})"
        if cell.reviewed_by:
            at = local_time(cell.reviewed_at or "")
            made += f"; reviewed by {cell.reviewed_by}, {at}"
        return made


def _counted(done: int, waiting: int) -> str:
    return f"{done}  (+{waiting} proposed)" if waiting else str(done)
