"""The Learn dock: one worthwhile cell after the other, and what the answers bring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_cellal.active.forecast import forecast
from napari_cellal.core.filters import REVIEWED, CellFilter
from napari_cellal.ui.controls import ComboBox, button, note, row
from napari_cellal.ui.dock import Dock, Needs
from napari_cellal.ui.job_bar import JobBar
from napari_cellal.ui.plots import CurvePlot

from .class_rest import ClassRest
from .class_with import ClassWith
from .question import QuestionPanel
from .replay import Replay

if TYPE_CHECKING:
    from napari_cellal.ui.question import Question
    from napari_cellal.ui.workspace import Workspace

STRATEGIES = (
    ("automatic", "Automatic", "Typical cells first, then doubtful ones"),
    ("diverse", "Diverse", "One doubtful cell of each kind"),
    ("margin", "Margin", "Cells whose two best classes are close"),
    ("entropy", "Entropy", "Cells that may be of many classes"),
    ("uncertainty", "Uncertainty", "Cells whose best class is weak"),
    ("committee", "Committee", "Cells about which models of three kinds disagree"),
    ("density", "Density", "Doubtful cells that many others resemble"),
    ("ranked", "Ranked", "Doubtful cells unlike all that have a label"),
    ("typical", "Typical", "Cells that stand for many others"),
    ("herding", "Covering", "Cells that together resemble as many others as possible"),
    (
        "rare",
        "Rare class",
        "Cells like the class with the fewest labels; before it has one, unlike all",
    ),
    ("detector", "Detector's doubt", "Boxes of which the detector is least sure"),
    ("random", "Random", "For comparison"),
)

FEATURES = (
    ("automatic", "Sees: automatic", "Measurements at once, the network's eye when ready"),
    ("quick", "Measurements", "Shape, brightness, texture and colour: 600 cells a second"),
    ("cellprofiler", "As CellProfiler", "Some 500 measurements; 20 cells a second"),
    ("deep", "Deep", "What a network sees in the cell; 100 cells a second"),
    ("quick+deep", "Measurements and deep", "Both side by side"),
)

MOST_NAMED = 4


class LearnDock(Dock):
    """Starts the loop, shows its question and curve, classes the rest."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.workspace = workspace
        self.session = session = workspace.session
        self.loop = workspace.learn
        self.needs = Needs()
        self.add(self.needs)
        self.page = QWidget()
        self._build()
        self.add(self.page)
        self.column.addStretch(1)
        self.listen(
            (session.project_changed, self._on_project),
            (session.project_changed, self.class_with.forget),
            (session.models_changed, self.class_with.refresh),
            (session.classes_changed, self.refresh),
            (session.edited, self._on_edit),
            (self.loop.question_changed, self._show_question),
            (self.loop.curve.changed, self._show_curve),
            (self.loop.state_changed, self._show_state),
            (self.loop.job_started, self._follow),
        )
        workspace.images.shown.connect(self._on_pixels)
        self.refresh()

    def disconnect_session(self) -> None:
        """Stop listening and making pictures, before the window closes."""
        super().disconnect_session()
        self.question.close_pictures()

    def _build(self) -> None:
        self.start = button(
            "Start",
            "Measure the cells and show the first one worth a label",
            self.loop.start,
            main=True,
        )
        self.bar = JobBar()
        self._state = note()
        self.question = QuestionPanel(self.workspace)
        self._summary = note()
        self._lacking = note()
        self.curve = CurvePlot()
        self.strategy = ComboBox("How the next cell is chosen. Automatic need never be changed.")
        for place, (key, text, tip) in enumerate(STRATEGIES):
            self.strategy.addItem(text, key)
            self.strategy.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.strategy.activated.connect(self._on_strategy)
        self.features = ComboBox(
            "What a cell is to the learner. It asks by quick measurements until others are ready."
        )
        for place, (key, text, tip) in enumerate(FEATURES):
            self.features.addItem(text, key)
            self.features.setItemData(place, tip, Qt.ItemDataRole.ToolTipRole)
        self.features.activated.connect(self._on_features)
        self.rest = ClassRest(self.workspace, self.bar)
        self.class_with = ClassWith(self.workspace)
        self._gallery = button(
            "Gallery",
            "Pictures of many cells: pick them together and class them with one key (G)",
            lambda: self.workspace.raise_dock("Gallery"),
        )
        self._map = button(
            "Map",
            "The cells as points, close where they look alike: lasso some, class them together",
            lambda: self.workspace.raise_dock("Map"),
        )
        self.check = button(
            "Check labels",
            "Shows your labels in the gallery, first those that the others speak against",
            self._check_labels,
        )
        self.again = button(
            "Replay",
            "Asks for your labels once more as if they were unknown, beside random picks, and "
            "shows what asking saved",
            lambda: self.replay.start(),
        )
        self.replay = Replay(self.workspace, self._follow)
        self.to_train = button(
            "Train a detector on these labels…",
            "Shows the Train dock. What you answer here teaches it, too",
            lambda: self.workspace.raise_dock("Train"),
        )
        layout = QVBoxLayout(self.page)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (
            self.start,
            self.bar,
            self._state,
            self.question,
            self._summary,
            self._lacking,
            self.curve,
            row(self.strategy, self.features),
            self.rest,
            self.class_with,
            row(self._gallery, self._map),
            row(self.check, self.again),
            self.replay,
            self.to_train,
        ):
            layout.addWidget(widget)

    # -- showing --------------------------------------------------------------------------

    def refresh(self, *_: object) -> None:
        """Show what can be done now."""
        project = self.session.project
        if project is None or not project.images:
            self._need("Nothing to learn from yet: open a project with images.", "Project")
        elif not project.active_classes:
            self._need("Name the classes first, e.g. RBC, WBC, Platelets.", "Project")
        elif not project.cells.counts():
            self._need("No cells yet: let a detector find some.", "Detect")
        else:
            self.needs.hide()
            self.page.show()
            self.question.fill_answers()
            self._show_question(self.loop.question)
            self._show_curve()

    def _need(self, text: str, dock: str) -> None:
        self.page.hide()
        self.needs.say(
            text, f"Go to {dock}", lambda: self.workspace.raise_dock(dock), f"Shows the {dock} dock"
        )

    def _on_project(self, _project: object) -> None:
        self.rest.forget()
        self.question.forget()
        self.replay.forget()
        self.refresh()

    def _on_edit(self, _edit: Any) -> None:
        if not self.needs.isHidden():
            self.refresh()

    def _show_state(self, text: str) -> None:
        self._state.setText(text)
        self._state.setVisible(bool(text))

    def _show_question(self, question: Question | None) -> None:
        self.start.setVisible(question is None)
        self.start.setText("Go on" if self.loop.features_path else "Start")
        self.question.show_question(question)

    def _on_pixels(self, _image_id: str) -> None:
        self.question.show_crop()

    def _show_curve(self) -> None:
        self.curve.show_points(self.loop.curve.points, self.loop.curve.control)
        self._summary.setVisible(self.loop.table is not None)  # else nothing was counted yet
        text = f"{self.loop.labels} labels learned from"
        if self.loop.curve.points:
            s = self.loop.curve.points[-1].score
            text += (
                f" · {s.accuracy:.2f} right ({s.low:.2f} to {s.high:.2f}) on {s.cells} "
                "held-out cells"
            )
        elif self.loop.holdout_labels:
            text += f" · {self.loop.holdout_labels} held out to measure"
        if self.loop.remaining:
            text += f" · {self.loop.remaining:,} cells without an answer"
        looks_at, total = self.loop.cells.how_many
        if looks_at < total:
            text += f" · looks at {looks_at:,} of {total:,} cells, in images drawn at random"
        self._summary.setText(text + "." + self._outlook())
        needs = sorted(self.loop.needs.items(), key=lambda of: -of[1])
        named = ", ".join(f"{name} {n}" for name, n in needs[:MOST_NAMED])
        more = f" and {len(needs) - MOST_NAMED} classes more" if len(needs) > MOST_NAMED else ""
        self._lacking.setText(f"Labels still lacking: {named}{more}.")
        self._lacking.setVisible(bool(needs))

    def _outlook(self) -> str:
        """Return what more labels would bring, as far as the curve can say."""
        points = [(p.labels, p.score.accuracy) for p in self.loop.curve.points]
        found = forecast(points)
        if found.labels_to_go is not None:
            return f" About {found.labels_to_go} more for {found.target:.2f}."
        if found.no_longer_helps:
            return (
                " More labels hardly help now: class the rest, or look through the ones you gave."
            )
        return ""

    def _on_strategy(self, *_: object) -> None:
        self.loop.strategy = self.strategy.currentData()

    def _on_features(self, *_: object) -> None:
        self.loop.better.choose(self.features.currentData())

    def _follow(self, handle: Any) -> None:
        self.bar.follow(handle)

    def _check_labels(self) -> None:
        batch = self.workspace.batch
        batch.wanted = CellFilter(statuses=REVIEWED)
        batch.order, batch.like = "mislabels", ""
        batch.refresh()
        self.workspace.raise_dock("Gallery")
