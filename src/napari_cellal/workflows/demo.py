"""The main job from end to end, with a script in the place of the person.

Images and annotations come in, the classical detector proposes boxes, a scripted person
answers what the learner asks, everything left is classed, a detector is trained on a few
corrected images, and all of it is measured on the test images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.records import Review, Split, Status
from napari_cellal.detect.settings import TrainSettings
from napari_cellal.io.samples.layout import load_layout
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project

from . import adding, annotating, detecting, evaluating, learning, pools, simulating, training

if TYPE_CHECKING:
    from napari_cellal.core.records import Cell

SYNTHETIC_IMAGES = 20
MATCH_IOU = 0.5


@dataclass(slots=True)
class Demo:
    """How the demo runs, and what it has found so far."""

    folder: Path
    data: str = "synthetic"
    answers: int = 60
    seeds: int = 5
    finish: int = 20
    """Training images that the scripted person corrects before the detector is trained."""
    train_minutes: float = 2.0
    preset: str = "fast"
    start: str = "auto"
    device: str = "auto"
    seed: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def _timed(demo: Demo, name: str, job: Job[Any]) -> Job[Any]:
    begun = time.perf_counter()
    value = yield from job
    demo.seconds[name] = round(time.perf_counter() - begun, 2)
    return value


def run_demo(demo: Demo) -> Job[dict[str, Any]]:
    """Return the report of the whole loop; the project stays in ``demo.folder``."""
    begun = time.perf_counter()
    project, truth_files = yield from _timed(demo, "import", _bring_in(demo))
    with project:
        truth = _Truth(project, truth_files)
        yield from _timed(demo, "detect", _detect(demo, project))
        measured = yield from _timed(demo, "measure", _measure(project))
        yield from _timed(demo, "answers", _answer(demo, project, measured, truth))
        yield from _timed(demo, "against_random", _against_random(demo, project, truth))
        yield from _timed(demo, "class_rest", _class_rest(demo, project, measured))
        yield from _timed(
            demo, "evaluate_learner", _evaluate_learner(demo, project, measured, truth)
        )
        if demo.train_minutes > 0:
            yield from _timed(demo, "train", _train(demo, project, truth))
        info = project.cells.counts()
        demo.report["cells"] = sum(info.values())
    demo.seconds["total"] = round(time.perf_counter() - begun, 2)
    demo.report["seconds"] = demo.seconds
    return demo.report


# -- import and detection -----------------------------------------------------------------


def _bring_in(demo: Demo) -> Job[tuple[Project, list[Any]]]:
    folder = demo.folder
    if folder.exists() or folder.with_name(f"{folder.name}.cellal").exists():
        raise CellalError(f"{folder} exists already. Give the demo another --project.")
    if demo.data == "synthetic":
        yield Progress(0, 0, "Drawing synthetic smears")
        source = folder.parent / f"{folder.stem} images"
        if source.exists():
            raise CellalError(f"{source} exists already. Give the demo another --project.")
        write_samples(source, "smear", SYNTHETIC_IMAGES, demo.seed)
    else:
        source = Path(demo.data)
    layout = load_layout(source)
    if not layout.annotations:
        raise CellalError(
            f"{source} has no Pascal VOC XML files. The demo needs them as the scripted person's "
            "knowledge; choose another folder."
        )
    looked = yield from adding.look_at_images(layout.images)
    images, report = yield from annotating.read_annotations(layout.annotations, "voc")
    names = dict.fromkeys(b.class_name for i in images for b in i.boxes if b.class_name)
    project = Project.create(folder, list(names))
    project.settings = project.settings.model_copy(update={"seed": demo.seed})
    added = adding.add_looked(project, looked, layout.split_of)
    demo.report.update(
        data="synthetic smears" if demo.data == "synthetic" else str(source),
        project=str(project.folder),
        images=len(added.records),
        by_split={s.value: sum(r.split is s for r in added.records) for s in Split},
        annotated_boxes=report.boxes,
        problems=[*added.problems, *(p.sentence for p in report.problems)],
    )
    return project, images


class _Truth:
    """What the scripted person knows: the annotated cells of each image."""

    def __init__(self, project: Project, images: list[Any]) -> None:
        by_name = {Path(r.name).stem: key for key, r in project.images.items()}
        self._boxes: dict[str, list[Any]] = {}
        self._classes: dict[str, list[int]] = {}
        for image in images:
            key = by_name.get(Path(image.image_name).stem)
            if key is None:
                continue
            for item in image.boxes:
                found = project.class_named(item.class_name)
                if found is not None:
                    self._boxes.setdefault(key, []).append(item.box)
                    self._classes.setdefault(key, []).append(found.class_id)

    def of(self, image_id: str) -> tuple[list[Any], list[int]]:
        """Return the boxes and class ids of an image."""
        return self._boxes.get(image_id, []), self._classes.get(image_id, [])

    def match(self, image_id: str, cells: list[Cell]) -> dict[str, int]:
        """Return {cell_id: place in the image's annotations} for the cells that are there."""
        boxes, _ = self.of(image_id)
        pairs = match_boxes([c.box for c in cells], boxes, MATCH_IOU)
        return {cells[i].cell_id: j for i, j in pairs}

    def classes(self, project: Project) -> dict[str, int]:
        """Return {cell_id: class_id} of every open proposal that is an annotated cell."""
        known: dict[str, int] = {}
        for key in project.images:
            cells = [c for c in project.cells.of_image(key) if c.status is Status.PROPOSED]
            classes = self.of(key)[1]
            known.update({c: classes[j] for c, j in self.match(key, cells).items()})
        return known


def _detect(demo: Demo, project: Project) -> Job[None]:
    request = detecting.request_detection(
        project, project.images, model=detecting.CLASSICAL, device=demo.device
    )
    items: list[Any] = []
    for step in detecting.detect(request):
        if step.item is not None:
            items.append(step.item)
        yield step
    run = detecting.apply_detections(project, items)
    demo.report["detected"] = {
        "boxes": run.cells,
        "images": run.images,
        "failures": list(run.failures),
    }


def _measure(project: Project) -> Job[learning.Measured]:
    return learning.measure(learning.measure_requests(project), project.cache_folder)


# -- the scripted person ------------------------------------------------------------------


def _answer(demo: Demo, project: Project, measured: learning.Measured, truth: _Truth) -> Job[None]:
    """Answer what the learner asks, like the Learn dock does, one edit an answer.

    The script passes over boxes that the annotations know nothing of. Held-out cells are
    scored against the annotations; in the window the person answers some of them.
    """
    known = truth.classes(project)
    holdout = {
        c.cell_id: known[c.cell_id]
        for c in project.cells.with_status(Status.PROPOSED)
        if c.cell_id in known
        and pools.is_held_out(
            c.cell_id,
            project.images[c.image_id].split,
            any(r.split is Split.VAL for r in project.images.values()),
        )
    }
    pool = pools.Pool(project)
    pool.holdout = holdout
    project.history.changed.connect(pool.follow)
    passed: set[str] = set()
    curve: list[dict[str, float]] = []
    waits: list[float] = []
    spent = 0
    while spent < demo.answers:
        request = learning.request_suggestions(project, measured, pool, leave_out=passed)
        begun = time.perf_counter()
        result = yield from learning.suggest(request)
        waits.append(time.perf_counter() - begun)
        if result.holdout is not None and (not curve or curve[-1]["labels"] < spent):
            curve.append({"labels": spent, "accuracy": round(result.holdout.accuracy, 4)})
        if not len(result.suggestions):
            break
        cell_id = result.suggestions.cell_ids[0]
        if cell_id not in known:
            passed.add(cell_id)
            continue
        cell = project.cells.get(cell_id)
        if cell is None:
            break
        class_id = known[cell_id]
        name = project.classes[class_id].name
        project.history.do(gestures.give_class([cell], class_id, name, "script"))
        spent += 1
        yield Progress(spent, demo.answers, f"Answer {spent}: {name}")
    project.history.changed.disconnect(pool.follow)
    waits.sort()
    demo.report["labels_spent"] = spent
    demo.report["passed_over"] = len(passed)
    demo.report["learning_curve"] = curve
    demo.report["held_out_cells"] = len(holdout)
    demo.report["suggest_seconds"] = {
        "median": round(waits[len(waits) // 2], 4) if waits else None,
        "p95": round(waits[int(len(waits) * 0.95)], 4) if waits else None,
    }


def _against_random(demo: Demo, project: Project, truth: _Truth) -> Job[None]:
    known = truth.classes(project)
    known.update({c.cell_id: c.class_id for c in project.cells.labels() if c.class_id is not None})
    test = {k for k, r in project.images.items() if r.split is Split.TEST}
    held = {k for k, r in project.images.items() if r.split is Split.VAL}
    requests = [
        simulating.only(r, known)
        for r in learning.measure_requests(project)
        if r.image_id not in test
    ]
    used = {k: known[k] for r in requests for k in r.cell_ids}
    holdout = frozenset(k for r in requests if r.image_id in held for k in r.cell_ids)
    if len(set(used.values())) < 2 or len(used) < 20 or holdout >= used.keys():
        demo.report["against_random"] = None  # too few cells to say anything
        return
    demo.report["against_random"] = yield from simulating.simulate(
        simulating.SimulateRequest(
            tuple(requests),
            used,
            holdout,
            str(project.cache_folder),
            ("automatic", "random"),
            demo.seeds,
            demo.answers,
            seed=demo.seed,
        )
    )


def _class_rest(demo: Demo, project: Project, measured: learning.Measured) -> Job[None]:
    pool = pools.Pool(project)
    predicted = yield from learning.class_rest(learning.request_rest(project, measured, pool))
    demo.report["classed_by_learner"] = learning.apply_classes(project, predicted, 0.0)


def _evaluate_learner(
    demo: Demo, project: Project, measured: learning.Measured, truth: _Truth
) -> Job[None]:
    request = evaluating.request_evaluation(
        project,
        model=detecting.CLASSICAL,
        truth=_test_truth(project, truth),
        learner=evaluating.LearnerRequest(
            measured.path,
            pools.Pool(project).labelled,
            tuple(learning.measure_requests(project)),
            str(project.cache_folder),
            demo.seed,
            measured.features,
        ),
        seed=demo.seed,
    )
    demo.report["test_classical_and_learner"] = yield from evaluating.evaluate(request)


def _test_truth(project: Project, truth: _Truth) -> evaluating.Truth:
    found: evaluating.Truth = {}
    for key, record in project.images.items():
        if record.split is Split.TEST:
            boxes, classes = truth.of(key)
            found[key] = (boxes, list(classes))
    return found


# -- the detector -------------------------------------------------------------------------


def correct_image(project: Project, image_id: str, boxes: list[Any], classes: list[int]) -> None:
    """Do to an image what a careful person would: confirm, correct, draw, reject, finish."""
    cells = [
        c for c in project.cells.of_image(image_id) if c.review in (Review.OPEN, Review.CONFIRMED)
    ]
    pairs = match_boxes([c.box for c in cells], boxes, MATCH_IOU)
    by = "script"
    edits = []
    for i, j in pairs:
        moved = gestures.move([(cells[i], boxes[j])], by)
        row = moved.after.get(cells[i].cell_id) or cells[i]
        name = project.classes[classes[j]].name
        classed = gestures.give_class([row], classes[j], name, by)
        after = classed.after or {row.cell_id: row}
        edits.append(edit_of("corrected", [(cells[i], after[cells[i].cell_id])], by))
    missed = set(range(len(boxes))) - {j for _, j in pairs}
    edits += [gestures.draw(image_id, [boxes[j]], classes[j], by) for j in sorted(missed)]
    extra = set(range(len(cells))) - {i for i, _ in pairs}
    edits.append(gestures.remove([cells[i] for i in sorted(extra)], by))
    name = project.images[image_id].name
    project.history.do(gestures.join(f"corrected {name}", edits, by))
    if not project.images[image_id].finished:
        project.history.do(gestures.finish_image(image_id, name, [], by))


def _train(demo: Demo, project: Project, truth: _Truth) -> Job[None]:
    chosen = {Split.TRAIN: demo.finish, Split.VAL: max(2, demo.finish // 4)}
    for split, n in chosen.items():
        ids = [k for k, r in project.images.items() if r.split is split and truth.of(k)[0]]
        for key in ids[:n]:
            correct_image(project, key, *truth.of(key))
            yield Progress(0, 0, f"Correcting {project.images[key].name}")
    finished = sum(r.finished for r in project.images.values())
    request = training.request_training(
        project,
        preset=demo.preset,
        start=demo.start,
        device=demo.device,
        settings=TrainSettings(steps=100_000, minutes=demo.train_minutes, seed=demo.seed),
    )
    trained = yield from training.train(request)
    training.register_model(project, trained, use=False)
    evaluation = evaluating.request_evaluation(
        project,
        model=trained.record.model_id,
        truth=_test_truth(project, truth),
        device=demo.device,
        seed=demo.seed,
    )
    new = yield from evaluating.evaluate(evaluation)
    old = demo.report["test_classical_and_learner"]
    better = evaluating.is_better(new, old)
    training.use_detector(project, trained.record.model_id if better else detecting.CLASSICAL)
    demo.report["test_detector"] = new
    demo.report["detector"] = {
        "model": trained.record.model_id,
        "architecture": trained.record.architecture,
        "start": trained.record.start,
        "corrected_images": finished,
        "trained_on": dict(trained.record.trained_on),
        "in_use": better,
    }
