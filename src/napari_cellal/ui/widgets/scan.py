"""The Batch dock: many images searched, classed and measured, paused and gone on with."""

from __future__ import annotations

import os
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import local_time
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.ui.controls import ComboBox, button, heading, note, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.jobs import NICENESS
from napari_cellal.workflows import detecting
from napari_cellal.workflows.describing import QUICK
from napari_cellal.workflows.scanning import plan
from napari_cellal.workflows.scanning.streams import (
    look_at_computer,
    usable_cores,
    work_beside,
    work_through,
)
from napari_cellal.workflows.scanning.tasks import Done
from napari_cellal.workflows.scanning.writing import ScanWriter

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellal.core.history import Steps
    from napari_cellal.core.progress import Progress
    from napari_cellal.io.store.scans import ScanRecord
    from napari_cellal.ui.jobs import JobHandle
    from napari_cellal.ui.workspace import Workspace
    from napari_cellal.workflows.scanning.tasks import Task
    from napari_cellal.workflows.worker import Failed

_AHEAD = 16  # results that wait to be written
_MOST_FAILURES = 5  # told in the dock; `scan --json` lists all


class BatchDock(Dock):
    """Scans the project's images in the background; what is done is written as it comes."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self._writer: ScanWriter | None = None
        self._job: JobHandle | None = None
        self._follow: list[Task] = []
        self._earlier = self._total = 0
        self.needs = Needs()
        self.page = QWidget()
        self._build()
        self.add(self.needs, self.page)
        self.column.addStretch(1)
        self.listen(
            (session.project_changed, self._forget),
            (session.images_changed, self.refresh),
            (session.models_changed, self._fill),
        )
        self._fill()
        self.refresh()

    def _build(self) -> None:
        self.images = ComboBox("Which images are searched. Finished ones are always left out.")
        self.more = button(
            "Add…",
            "Add a folder, a plate or slides in the Project dock",
            lambda: self.workspace.raise_dock("Project"),
        )
        self.detector = ComboBox("The model that finds the cells")
        self.classifier = ComboBox("What gives the cells their classes")
        self.measure = QCheckBox("Measure the cells")
        self.measure.setToolTip(
            "Size, shape, brightness and texture of every cell: tables, plates and Learn then "
            "have them at once."
        )
        self.run = button(
            "Scan",
            "Search the images in the background. What you reviewed is never changed. It can be "
            "paused, and goes on where it stood, also tomorrow or after a power cut.",
            lambda: self._start(None),
            main=True,
        )
        self.bar = JobBar("Pause. What is done is kept, and Go on continues from there")
        self.bar.cancel.setText("Pause")
        self.go_on = button(
            "Go on", "Continue the scan that was begun last, with its settings", self._go_on
        )
        self._waiting = note()
        self._result = note()
        self.plate = button(
            "Plate",
            "Shows the wells, coloured by what was found",
            lambda: self.workspace.raise_dock("Plate"),
        )
        self._leads_on = row(
            button(
                "Gallery",
                "Shows pictures of the cells: pick many, class them with one key (G)",
                lambda: self.workspace.raise_dock("Gallery"),
            ),
            self.plate,
        )
        self._leads_on.hide()
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            note(
                "Finds, classes and measures the cells of many images at once: whole plates, "
                "folders and slides."
            ),
            heading("Images"),
            row(self.images, self.more),
            heading("Find cells with"),
            self.detector,
            heading("Give classes with"),
            self.classifier,
            self.measure,
            self.run,
            self.bar,
            self._waiting,
            self.go_on,
            self._result,
            self._leads_on,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def _forget(self, *_: object) -> None:
        """Show nothing of another project, and search no image of it."""
        self._writer = None
        if self._job is not None:  # what it found by then is written; Go on does the rest
            self._job.cancel()
        self._result.setText("")
        self._leads_on.hide()
        self._fill()
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show what can be scanned now."""
        project = self.session.project
        ready = project is not None and bool(project.images)
        self.page.setVisible(ready)
        self.needs.setVisible(not ready)
        if project is None or not ready:
            self.needs.say(
                "No images yet: a scan needs a folder, a plate or a slide.",
                "Go to Project",
                lambda: self.workspace.raise_dock("Project"),
                "The Project dock adds images",
            )
            return
        if not self._has_chosen:  # the first images say which detector suits
            self._fill()
        chosen = self.images.currentData()
        self.images.clear()
        left = [r for r in project.images.values() if not r.finished]
        self.images.addItem(f"All that are not finished ({len(left):,})", "")
        plates = dict.fromkeys(r.place["plate"] for r in left if "plate" in r.place)
        for plate in plates if len(plates) > 1 else ():
            n = sum(r.place.get("plate") == plate for r in left)
            self.images.addItem(f"Plate {plate} ({n:,})", plate)
        self.images.setCurrentIndex(max(0, self.images.findData(chosen)))
        self.when_seen(self._show_waiting)

    def _fill(self, *_: object) -> None:
        """Offer the project's models; those in use are chosen."""
        project = self.session.project
        models = [] if project is None else list(reversed(project.models))
        self._has_chosen = project is not None and bool(project.images)
        self.detector.clear()
        self.detector.addItem("Shipped (blood cells and nuclei)", SHIPPED)
        self.detector.addItem("Classical (no training needed)", detecting.CLASSICAL)
        self.classifier.clear()
        self.classifier.addItem("The detector itself", "")
        for record in models:
            box = self.detector if record.kind == "detector" else self.classifier
            name = self.workspace.model_name(record.model_id)
            box.addItem(f"{name} · {local_time(record.created_at)}", record.model_id)
        if project is not None and project.images:
            found = self.detector.findData(detecting.choose_model(project))
            self.detector.setCurrentIndex(max(0, found))

    def _show_waiting(self) -> None:
        """Say whether a scan can go on."""
        project, scan = self.session.project, None
        if project is not None and self._writer is None:
            scan = next((s for s in reversed(project.scans.all()) if s.ended_at is None), None)
        self.go_on.setVisible(scan is not None)
        self._waiting.setVisible(scan is not None)
        if project is not None and scan is not None:
            states = [image.state.value for image in project.scans.images(scan.scan_id)]
            done = len(states) - states.count("waiting")
            self._waiting.setText(
                f"A scan of {local_time(scan.begun_at)} is waiting: {done:,} of {len(states):,} "
                "images are done."
            )

    # -- scanning -------------------------------------------------------------------------

    def _go_on(self) -> None:
        project = self.session.project
        if project is not None:
            try:
                self._start(plan.unfinished_scan(project))
            except CellalError as error:
                self.session.tell(str(error), error=True)

    def _start(self, going_on: ScanRecord | None) -> None:
        project = self.session.project
        if project is None:
            return
        if self._writer is not None:
            self.session.tell("A scan is under way. Pause it first, or wait.")
            return
        if going_on is None:
            settings = plan.ScanSettings(
                self.detector.currentData(),
                classifier=self.classifier.currentData(),
                features=QUICK if self.measure.isChecked() else "",
            )
            plate = self.images.currentData()
            records = project.images.values()
            ids = [r.image_id for r in records if not plate or r.place.get("plate") == plate]
        else:
            settings = plan.settings_of(going_on)
            ids = [image.image_id for image in project.scans.images(going_on.scan_id)]
        try:
            todo = plan.plan_scan(project, ids, settings, going_on=going_on)
        except CellalError as error:
            self.session.tell(str(error), error=True)
            return
        self.session.tell_all(todo.warnings)
        if not todo.waiting:
            self._result.setText("These images are done already, with these settings.")
            return
        self._writer = writer = ScanWriter(project, todo)
        self._total = len(todo.waiting)
        self._earlier = 0 if going_on is None else len(ids) - self._total
        self._result.setText("")
        self._leads_on.hide()
        self._show_waiting()
        self.session.works.add(writer.begin(), lambda tasks: self._hand_out(writer, todo, tasks))

    def _hand_out(self, writer: ScanWriter, todo: plan.ScanPlan, tasks: list[Task]) -> None:
        """Have tasks done in child processes; what follows from them comes after."""
        if writer is not self._writer:
            return
        if not todo.spec.uses_torch:
            self._divide(writer, todo, tasks, ("cpu",) * usable_cores())
            return
        handle = self.workspace.jobs.run(
            "Looking at the computer", look_at_computer, "auto", lane="heavy"
        )
        handle.finished.connect(lambda devices: self._divide(writer, todo, tasks, devices))
        self._follow_job(writer, handle)

    def _divide(
        self, writer: ScanWriter, todo: plan.ScanPlan, tasks: list[Task], devices: tuple[str, ...]
    ) -> None:
        """Have tasks done by a process for each GPU or core."""
        if writer is not self._writer:
            return
        self._follow = []
        jobs, title = self.workspace.jobs, f"Scanning {self._total:,} images"
        own = devices
        if devices[0] == "cpu" and not hasattr(os, "nice"):
            own = devices[1:]  # Windows: a core is left for the window
        if len(own) > 1:
            niceness, answers = NICENESS["heavy"], SimpleQueue[list["Task"]]()
            handle = jobs.run_here(
                title, work_beside, todo.spec, tasks, own, niceness, answers, most_ahead=_AHEAD
            )
            answer = answers.put
        else:  # in the lane of trainings: a GPU hardly has memory for both
            lane = "heavy" if todo.spec.uses_torch else "classical"
            handle = jobs.run(title, work_through, todo.spec, tasks, lane=lane, most_ahead=_AHEAD)
            answer = self._follow.extend
        handle.progressed.connect(lambda step: self._take(writer, handle, answer, step))
        handle.finished.connect(lambda _: self._write_out(writer, todo, devices))
        self._follow_job(writer, handle)

    def _follow_job(self, writer: ScanWriter, handle: JobHandle) -> None:
        self._job = handle
        self.bar.follow(handle)
        handle.cancelled.connect(lambda: self._end(writer, "Paused. "))
        handle.failed.connect(lambda failed: self._on_failed(writer, failed))

    def _take(
        self,
        writer: ScanWriter,
        handle: JobHandle,
        answer: Callable[[list[Task]], object],
        step: Progress,
    ) -> None:
        if isinstance(step.item, Done) and writer is self._writer:
            handle.items.clear()  # written at once: nobody needs them twice
            self.session.works.add(_written(writer, handle, answer, step.item), lambda _: None)

    def _write_out(self, writer: ScanWriter, todo: plan.ScanPlan, devices: tuple[str, ...]) -> None:
        """Go on with what follows, once all that came is written.

        The computer is not looked at again: in its lane a training may be waiting by now.
        """

        def next_tasks(_: Any) -> None:
            if self._follow and writer is self._writer:
                self._divide(writer, todo, self._follow, devices)
            else:
                self._end(writer, "")

        self.session.works.add(_nothing(), next_tasks)

    def _on_failed(self, writer: ScanWriter, failed: Failed) -> None:
        self.session.tell(failed.message, error=True)
        self._end(writer, f"{failed.message} ")

    def _end(self, writer: ScanWriter, prefix: str) -> None:
        """Tell what was done, once all that came is written."""
        self.session.works.add(_nothing(), lambda _: self._tell(writer, prefix))

    def _tell(self, writer: ScanWriter, prefix: str) -> None:
        if writer is not self._writer:
            return
        ended = writer.end()
        self._writer = None
        done, of = self._earlier + writer.done, self._earlier + self._total
        text = f"{prefix}{done:,} of {of:,} images done, {writer.cells:,} cells"
        if self._earlier:
            text += f" in the last {writer.done:,}"
        summary = writer.summary
        text += f": {summary.new:,} new"
        if summary.kept:
            text += f", {summary.kept:,} you had reviewed, left as they are"
        lines = [f"{text}."]
        names = {} if self.session.project is None else self.session.project.images
        for key, sentence in list(writer.failed.items())[:_MOST_FAILURES]:
            name = names[key].name if key in names else key
            lines.append(sentence if name in sentence else f"{name}: {sentence}")
        if len(writer.failed) > _MOST_FAILURES:
            lines.append(f"{len(writer.failed) - _MOST_FAILURES} more images failed.")
        self._result.setText("\n".join(lines))
        project = self.session.project
        records = () if project is None else project.images.values()
        self.plate.setVisible(any("well" in r.place for r in records))
        self._leads_on.show()
        self._show_waiting()
        if ended and not self.is_on_screen:
            self.session.tell(f"The scan has ended: {lines[0]}")


def _written(
    writer: ScanWriter, handle: JobHandle, answer: Callable[[list[Task]], object], result: Done
) -> Steps[None]:
    """Write what came of a task; ``answer`` hears what follows from it.

    What cannot be written pauses the scan: the rest could not be written either.
    """
    follow: list[Task] = []
    try:
        follow = yield from writer.take([result])
    except CellalError:
        handle.cancel()
        raise
    finally:
        answer(follow)
        handle.taken()


def _nothing() -> Steps[None]:
    """Come when all that was handed in before is written."""
    yield
