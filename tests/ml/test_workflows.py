"""The use cases without window or command line, on a few drawn smears."""

from __future__ import annotations

import pickle
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_cellal.active.suggest import predict_others
from napari_cellal.core import gestures
from napari_cellal.core.errors import AnnotationError, CellalError, ImageError, ModelError
from napari_cellal.core.history import edit_of, finish
from napari_cellal.core.masks import mask_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import (
    Cell,
    Detections,
    ImageRecord,
    ModelRecord,
    Origin,
    Proposal,
    Review,
    Split,
    Status,
    new_id,
)
from napari_cellal.detect.presets import find_preset, for_images
from napari_cellal.detect.requests import ImageFailure
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.features.table import FeatureTable
from napari_cellal.io.exchange.report import ImportedBox, ImportedImage, ImportReport
from napari_cellal.io.store import Project
from napari_cellal.workflows import (
    adding,
    annotating,
    classing_rest,
    detecting,
    evaluating,
    exporting,
    learning,
    pools,
    sampling,
    simulating,
    splitting,
    training,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLASSES = ("RBC", "WBC", "Platelets")
NO_REPORT = ImportReport(1, 1, 0)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project."""
    with Project.create(tmp_path / "p", CLASSES) as project:
        yield project


@pytest.fixture(scope="session")
def detected_folder(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with official splits and the classical detector's proposals."""
    with Project.create(tmp_path_factory.mktemp("detected") / "d", CLASSES) as project:
        add(project, [smears], splits_of(smears))
        training.use_detector(project, detecting.CLASSICAL)
        detect(project)
        return project.folder


@pytest.fixture
def detected(detected_folder: Path, tmp_path: Path) -> Iterator[Project]:
    """A copy of that project to play with."""
    shutil.copytree(detected_folder, tmp_path / "d.cellal")
    with Project.open(tmp_path / "d.cellal") as project:
        yield project


@pytest.fixture
def blank(project: Project) -> Project:
    """A project with three images that are not on disk."""
    record = ImageRecord("a", "a.png", (3, 100, 120), "uint8", ("r", "g", "b"), True)
    project.add_images(
        [
            record,
            replace(record, image_id="b", path="b.png", split=Split.VAL),
            replace(record, image_id="c", path="c.png", split=Split.TEST),
        ]
    )
    return project


def splits_of(folder: Path) -> dict[str, Split]:
    lists = folder / "ImageSets" / "Main"
    return splitting.read_splits({s.value: lists / f"{s.value}.txt" for s in Split})


def add(project: Project, paths: Iterable[Path], splits: Any = None) -> adding.Added:
    return adding.add_looked(project, run_job(adding.look_at_images(paths)), splits)


def detect(project: Project, **options: Any) -> detecting.DetectionRun:
    request = detecting.request_detection(project, project.images, **options)
    return detecting.apply_detections(project, items_of(request), request.view)


def items_of(request: detecting.DetectRequest) -> list[Any]:
    items: list[Any] = []
    run_job(detecting.detect(request), lambda step: items.append(step.item))
    return [item for item in items if item is not None]


def import_voc(project: Project, folder: Path, *, confirm: bool = False) -> annotating.Imported:
    found = run_job(annotating.read_annotations([folder], "voc"))
    return annotating.import_annotations(project, *found, confirm=confirm)


def rows_of(project: Project) -> dict[str, Cell]:
    return {c.cell_id: c for key in project.images for c in project.cells.of_image(key)}


def said(project: Project) -> list[tuple[Any, ...]]:
    """Return what is known of every cell except ids and times, in a fixed order."""
    names = {c.class_id: c.name for c in project.classes.values()}
    rows = []
    for key, record in project.images.items():
        for c in project.cells.of_image(key):
            name = None if c.class_id is None else names[c.class_id]
            rows.append((record.name, c.box, name, c.status, c.note))
    return sorted(rows)


def put(project: Project, *cells: Cell) -> None:
    project.history.do(edit_of("put", [(None, c) for c in cells], "test"))


def a_cell(
    image_id: str = "a",
    box: tuple[float, float, float, float] = (10.0, 10.0, 30.0, 30.0),
    class_id: int | None = 1,
    origin: Origin = Origin.MODEL,
    review: Review = Review.OPEN,
    cell_id: str = "",
    score: float = 0.9,
) -> Cell:
    proposed = Proposal(box, class_id, score, "old") if origin is Origin.MODEL else None
    return Cell(cell_id or new_id(), image_id, box, class_id, origin, review, proposed)


def found(*boxes: tuple[float, ...], image_id: str = "a", **options: Any) -> Detections:
    n = len(boxes)
    scores = options.get("scores", tuple(0.9 - 0.01 * k for k in range(n)))
    classes = options.get("classes", (None,) * n)
    return Detections(image_id, boxes, scores, classes, options.get("model", "new"))  # type: ignore[arg-type]


# -- adding -----------------------------------------------------------------------------------


def test_images_are_registered_with_what_they_hold(project: Project, smears: Path) -> None:
    added = add(project, [smears])
    assert len(added.records) == len(project.images) == 6
    assert {r.shape for r in added.records} == {(3, 160, 200)}
    assert all(r.rgb and r.fingerprint for r in added.records)
    assert all(project.image_path(r.image_id).is_file() for r in added.records)
    assert added.lines()


def test_files_that_are_there_are_not_added_twice(project: Project, smears: Path) -> None:
    add(project, sorted(smears.glob("*1.png")))
    again = add(project, [smears])
    assert (len(again.records), again.known) == (5, 1)
    assert (add(project, [smears]).records, add(project, [smears]).known) == ((), 6)


def test_the_same_content_under_another_name_is_known(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    copies = tmp_path / "copies"
    copies.mkdir()
    shutil.copy(smears / "smear_001.png", copies / "one.png")
    shutil.copy(smears / "smear_001.png", copies / "two.png")
    added = add(project, [copies])
    assert (len(added.records), added.known) == (1, 1)
    assert add(project, [smears / "smear_001.png"]).known == 1


def test_broken_files_are_named_and_the_rest_goes_on(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    shutil.copy(smears / "smear_001.png", mixed)
    whole = (smears / "smear_002.png").read_bytes()
    (mixed / "cut.png").write_bytes(whole[: len(whole) // 3])
    (mixed / "words.tif").write_text("no image", encoding="utf-8")
    (mixed / "empty.jpg").touch()
    added = add(project, [mixed])
    assert [r.name for r in added.records] == ["smear_001.png"]
    assert len(added.problems) >= 2
    told = " ".join(added.problems)
    assert "words.tif" in told
    assert "empty.jpg" in told


@pytest.mark.parametrize("name", ["", "nowhere"])
def test_nothing_to_add_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError):
        run_job(adding.look_at_images([tmp_path / (name or "empty")]))


def test_official_splits_are_followed(project: Project, smears: Path) -> None:
    splits = splits_of(smears)
    add(project, [smears], splits)
    assert {Path(r.path).stem: r.split for r in project.images.values()} == splits
    assert set(splits.values()) == set(Split)


def test_official_splits_may_name_files_with_their_suffix(project: Project, smears: Path) -> None:
    add(project, [smears], {"smear_002.png": Split.TEST})
    splits = {r.name: r.split for r in project.images.values()}
    assert splits.pop("smear_002.png") is Split.TEST
    assert set(splits.values()) == {Split.TRAIN}


def test_split_lists_that_fit_nothing_are_told(project: Project, smears: Path) -> None:
    added = add(project, [smears], {"other": Split.TEST})
    assert len(added.problems) == 1
    assert not add(project, [smears], {"other": Split.TEST}).problems


def test_split_lists_are_read_as_voc_writes_them(tmp_path: Path) -> None:
    file = tmp_path / "l.txt"
    file.write_text("\ufeffa -1\n\nb c 1\r\n d.png \ne f\n", encoding="utf-8")
    splits = splitting.read_splits({"val": file})
    assert splits == dict.fromkeys(["a", "b c", "d.png", "e f"], Split.VAL)


def test_faulty_split_lists_are_errors(tmp_path: Path) -> None:
    one, two, binary = tmp_path / "1", tmp_path / "2", tmp_path / "3"
    one.write_text("a\nb\n", encoding="utf-8")
    two.write_text("b\n", encoding="utf-8")
    binary.write_bytes(b"\xff\xfe\x00")
    for files in (
        {"holdout": one},
        {"train": tmp_path / "missing"},
        {"train": tmp_path},
        {"train": binary},
        {"train": one, "test": two},  # an image that is trained and tested on
    ):
        with pytest.raises(CellalError) as caught:
            splitting.read_splits(files)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("n", "percent", "expected"), [(10, 20, 2), (10, 0, 0), (3, 50, 2)])
def test_the_share_that_is_held_out(n: int, percent: int, expected: int) -> None:
    names = [f"{k}.png" for k in range(n)]
    held = splitting.hold_out(dict.fromkeys(names, 1), 0, 0, percent)
    assert len(held) == expected
    assert held <= set(names)


def test_what_is_held_out_depends_on_names_alone() -> None:
    names = [f"image {k}.png" for k in range(40)]
    held = splitting.hold_out(dict.fromkeys(names, 1), 0, 0, 20)
    shuffled = names[:]
    random.Random(0).shuffle(shuffled)
    assert splitting.hold_out(dict.fromkeys(shuffled, 1), 0, 0, 20) == held


def test_what_is_held_out_makes_up_for_what_is_there() -> None:
    names = dict.fromkeys((f"{k}.png" for k in range(10)), 1)
    assert len(splitting.hold_out(names, 10, 0, 20)) == 4
    assert len(splitting.hold_out(names, 10, 2, 20)) == 2
    assert len(splitting.hold_out(names, 10, 9, 20)) == 0


def grouped(n: int, *groups: str, path: str = "{}.png") -> list[ImageRecord]:
    """Return ``n`` images of each group."""
    return [
        ImageRecord(new_id(), path.format(f"{g}/{k}"), (1, 9, 9), "uint8", ("gray",), group=g)
        for g in groups
        for k in range(n)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_torn_apart_and_the_share_is_near(seed: int) -> None:
    chance = random.Random(seed)
    images = []
    for k in range(30):
        images += grouped(chance.randint(1, 6), f"plate {seed}/{k}")
    for r in range(10):
        images += grouped(1, "", path=f"{seed}-{r}{{}}")
    chance.shuffle(images)
    at = chance.randrange(len(images))
    there, _ = splitting.choose_splits(images[:at], [], 20)
    fresh, problems = splitting.choose_splits(images[at:], there, 20)
    assert problems == []
    assert {r.image_id for r in fresh} == {r.image_id for r in images[at:]}
    assert splitting.torn_groups([*there, *fresh]) == set()
    whole, _ = splitting.choose_splits(images, [], 20)
    held = sum(r.split is Split.VAL for r in whole)
    assert abs(held - 0.2 * len(images)) <= 3


def test_planes_of_one_file_stay_together() -> None:
    planes = [replace(r, path="stack.tif", z=k) for k, r in enumerate(grouped(9, ""))]
    others = grouped(1, "", path="other{}")
    for percent in range(5, 100, 10):
        records, _ = splitting.choose_splits([*planes, *others], [], percent)
        assert len({r.split for r in records[:9]}) == 1


def test_one_group_alone_is_for_training() -> None:
    records, _ = splitting.choose_splits(grouped(12, "slide"), [], 20)
    assert {r.split for r in records} == {Split.TRAIN}


def test_a_new_image_follows_its_group() -> None:
    there = [replace(r, split=Split.TEST) for r in grouped(2, "well A1")]
    records, _ = splitting.choose_splits(grouped(40, "well A1"), there, 50)
    assert {r.split for r in records} == {Split.TEST}


def test_official_lists_win_over_groups_and_a_torn_one_is_told() -> None:
    a, b = grouped(3, "a", "b")[:3], grouped(3, "a", "b")[3:]
    a = [replace(r, path=f"a{k}.png") for k, r in enumerate(a)]
    b = [replace(r, path=f"b{k}.png") for k, r in enumerate(b)]
    records, problems = splitting.choose_splits([*a, *b], [], 20, {"a1": Split.VAL})
    assert [r.split for r in records] == [Split.VAL] * 3 + [Split.TRAIN] * 3
    assert problems == []
    lists = {"a1": Split.VAL, "b0": Split.TRAIN, "b1.png": Split.TEST}
    records, problems = splitting.choose_splits([*a, *b], [], 20, lists)
    assert [r.split for r in records[3:]] == [Split.TRAIN, Split.TEST, Split.TRAIN]
    assert len(problems) == 1


def test_changing_a_split_takes_the_group_along(blank: Project) -> None:
    first = next(iter(blank.images))
    blank.add_images(grouped(2, "g", "h"))
    ids = list(blank.images)[-4:]
    changed = splitting.change_split(blank, [ids[0]], Split.TEST)
    assert changed == ids[:2]
    assert [blank.images[key].split for key in ids] == [Split.TEST] * 2 + [Split.TRAIN] * 2
    assert splitting.change_split(blank, ids[:2], Split.TEST) == []
    assert blank.images[first].split is not Split.TEST


def test_without_official_splits_some_are_held_out(project: Project, smears: Path) -> None:
    add(project, [smears])
    splits = [r.split for r in project.images.values()]
    assert splits.count(Split.VAL) == 1
    assert splits.count(Split.TEST) == 0


def test_splits_do_not_change_when_images_are_added(project: Project, smears: Path) -> None:
    files = sorted(smears.glob("*.png"))
    add(project, files[:4])
    before = {r.path: r.split for r in project.images.values()}
    add(project, files)
    after = {r.path: r.split for r in project.images.values()}
    assert {path: after[path] for path in before} == before
    assert list(after.values()).count(Split.VAL) == 1


def test_the_samples_are_a_project(tmp_path: Path) -> None:
    folder = run_job(sampling.make_samples(tmp_path / "s", 2, 3))
    with Project.open(folder) as project:
        assert len(project.images) == 2
        assert tuple(c.name for c in project.active_classes) == CLASSES
        assert not project.cells.counts()


# -- annotating -------------------------------------------------------------------------------


def test_importing_adds_classes_and_open_rows(tmp_path: Path, smears: Path) -> None:
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        add(project, [smears])
        done = import_voc(project, smears)
        rows = rows_of(project).values()
        assert done.images == 6
        assert done.boxes == len(rows) > 50
        assert set(done.classes_added) == {"WBC", "Platelets"}
        assert {c.name for c in project.active_classes} == set(CLASSES)
        assert {c.status for c in rows} == {Status.IMPORTED}
        assert not any(r.finished for r in project.images.values())
        assert done.lines()


def test_importing_with_confirm_makes_labels_and_finished_images(
    project: Project, smears: Path
) -> None:
    add(project, [smears])
    done = import_voc(project, smears, confirm=True)
    assert len(project.cells.labels()) == done.boxes
    assert all(r.finished for r in project.images.values())
    assert {c.reviewed_by for c in rows_of(project).values()} == {project.person}


def test_only_files_that_say_verified_finish_an_image(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    add(project, [smears])
    copy = tmp_path / "voc"
    copy.mkdir()
    for name in ("smear_001", "smear_002"):
        text = (smears / f"{name}.xml").read_text(encoding="utf-8")
        if name == "smear_002":
            text = text.replace(' verified="yes"', "")
        (copy / f"{name}.xml").write_text(text, encoding="utf-8")
    import_voc(project, copy, confirm=True)
    assert [r.name for r in project.images.values() if r.finished] == ["smear_001.png"]


def test_importing_is_one_step_to_undo(project: Project, smears: Path) -> None:
    add(project, [smears])
    import_voc(project, smears, confirm=True)
    project.history.undo()
    assert not rows_of(project)
    assert not any(r.finished for r in project.images.values())
    assert project.history.undo_label == ""


@pytest.mark.parametrize("confirm", [False, True])
def test_importing_twice_changes_nothing(project: Project, smears: Path, confirm: bool) -> None:
    add(project, [smears])
    first = import_voc(project, smears, confirm=confirm)
    before = rows_of(project)
    again = import_voc(project, smears, confirm=confirm)
    assert (again.boxes, again.repeated, again.confirmed) == (0, first.boxes, 0)
    assert again.classes_added == ()
    assert rows_of(project) == before


def test_importing_again_with_confirm_confirms_what_is_open(project: Project, smears: Path) -> None:
    # else the images would be finished with no label in them: every cell background
    add(project, [smears])
    first = import_voc(project, smears)
    rejected = next(iter(rows_of(project).values()))
    project.history.do(gestures.remove([rejected], "ann"))
    again = import_voc(project, smears, confirm=True)
    assert (again.boxes, again.repeated, again.kept) == (0, first.boxes - 1, 1)
    assert again.confirmed == len(project.cells.labels()) == first.boxes - 1
    assert rows_of(project)[rejected.cell_id].status is Status.REJECTED
    project.history.undo()
    assert not project.cells.labels()


def test_images_that_the_project_has_not_are_named(project: Project, smears: Path) -> None:
    add(project, [smears / "smear_001.png"])
    done = import_voc(project, smears)
    assert done.images == 1
    assert set(done.unmatched) == {f"smear_{k:03}.png" for k in range(2, 7)}
    assert done.lines()


def test_classes_of_other_images_are_not_added(tmp_path: Path, smears: Path) -> None:
    with Project.create(tmp_path / "p") as project:
        done = import_voc(project, smears)
        assert (done.boxes, done.classes_added) == (0, ())
        assert not project.active_classes


def test_images_are_found_by_name_with_another_suffix(blank: Project) -> None:
    box = ImportedBox((1, 1, 9, 9), "rbc")
    image = ImportedImage(Path("a.xml"), "a.jpg", None, (box,))
    done = annotating.import_annotations(blank, [image], NO_REPORT)
    assert (done.boxes, done.unmatched, done.classes_added) == (1, (), ())
    (row,) = blank.cells.of_image("a")
    assert row.class_id == 1


def test_of_several_images_of_one_name_the_one_beside_is_meant(
    blank: Project, tmp_path: Path
) -> None:
    record = replace(blank.images["a"], split=Split.TRAIN)
    paths = {"x": "w1/1.png", "y": "w2/1.png", "z": "w3/JPEGImages/1.png"}
    blank.add_images([replace(record, image_id=k, path=p) for k, p in paths.items()])
    box = (ImportedBox((1, 1, 9, 9), "RBC"),)
    files = ["w1/1.xml", "w3/Annotations/1.xml", "elsewhere/in/1.xml"]
    images = [ImportedImage(tmp_path / f, "1.png", None, box) for f in files]
    done = annotating.import_annotations(blank, images, NO_REPORT)
    assert {c.image_id for c in rows_of(blank).values()} == {"x", "z"}
    assert (done.boxes, done.unmatched, len(done.problems)) == (2, (), 1)


def test_annotations_of_another_size_are_told(blank: Project) -> None:
    box = (ImportedBox((1, 1, 9, 9), "RBC"),)
    right = ImportedImage(Path("a.xml"), "a.png", (100, 120), box)
    wrong = ImportedImage(Path("b.xml"), "b.png", (50, 60), box)
    done = annotating.import_annotations(blank, [right, wrong], NO_REPORT)
    assert done.boxes == 2
    assert len(done.problems) == 1
    assert "b.xml" in done.problems[0]


def test_odd_boxes_are_cut_or_left_out_and_marks_are_kept(blank: Project) -> None:
    boxes = (
        ImportedBox((-5, -5, 10, 10), "RBC", difficult=True),
        ImportedBox((90, 110, 300, 300), "RBC", truncated=True, note="at the rim"),
        ImportedBox((200, 200, 220, 220), "RBC"),
        ImportedBox((20, 20, 30, 30), ""),
    )
    image = ImportedImage(Path("a.xml"), "a.png", None, boxes)
    done = annotating.import_annotations(blank, [image], NO_REPORT, confirm=True)
    first, second, third = blank.cells.of_image("a")
    assert done.boxes == 3
    assert (first.box, first.note) == ((0, 0, 10, 10), "difficult")
    assert (second.box, second.note) == ((90, 110, 100, 120), "truncated at the rim")
    assert third.class_id is None
    assert not third.is_label


def test_a_box_that_a_file_holds_twice_stays_twice(blank: Project) -> None:
    box = ImportedBox((1, 1, 9, 9), "RBC")
    image = ImportedImage(Path("a.xml"), "a.png", None, (box, box))
    assert annotating.import_annotations(blank, [image], NO_REPORT).boxes == 2
    again = annotating.import_annotations(blank, [image], NO_REPORT, confirm=True)
    assert (again.boxes, again.repeated) == (0, 2)


@pytest.mark.parametrize("name", ["empty", "nowhere", "picture.png"])
def test_nothing_to_import_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    Image.new("L", (4, 4)).save(tmp_path / "picture.png")
    with pytest.raises(AnnotationError) as caught:
        run_job(annotating.read_annotations([tmp_path / name], "voc"))
    assert name in str(caught.value)


def test_one_damaged_file_does_not_stop_the_others(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    shutil.copy(smears / "smear_001.xml", tmp_path)
    (tmp_path / "broken.xml").write_text("<annotation>", encoding="utf-8")
    add(project, [smears])
    done = import_voc(project, tmp_path)
    assert done.images == 1
    assert any("broken.xml" in p for p in done.problems)


def test_unknown_formats_are_errors(blank: Project, tmp_path: Path) -> None:
    with pytest.raises(CellalError, match="voc"):
        annotating.read_annotations([tmp_path], "dicom")
    with pytest.raises(CellalError, match="voc"):
        exporting.write_annotations(blank, tmp_path, "dicom")


def test_what_is_exported_comes_back_the_same(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    add(project, [smears], splits_of(smears))
    import_voc(project, smears, confirm=True)
    report = run_job(exporting.write_annotations(project, tmp_path / "out", "voc"))
    assert report.images == len(report.files) == 6
    with Project.create(tmp_path / "other") as other:
        add(other, [smears], splits_of(smears))
        done = import_voc(other, tmp_path / "out", confirm=True)
        assert done.boxes == report.boxes
        assert said(other) == said(project)
        assert all(r.finished for r in other.images.values())


def test_exports_leave_out_rejected_and_on_request_open_cells(blank: Project) -> None:
    put(
        blank,
        a_cell(box=(0, 0, 9, 9)),
        a_cell(box=(10, 0, 19, 9), review=Review.REJECTED),
        a_cell(box=(20, 0, 29, 9), review=Review.CONFIRMED),
        a_cell(box=(30, 0, 39, 9), class_id=None),
    )

    def tops(**options: bool) -> list[float]:
        images = exporting.export_images(blank, **options)
        assert [i.name for i in images] == ["a.png", "b.png", "c.png"]
        return [b.box[0] for b in images[0].boxes]

    assert tops() == [0, 20, 30]
    assert tops(reviewed_only=True) == [20]


def test_exports_that_cannot_be_written_are_errors(blank: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(AnnotationError):
            run_job(exporting.write_annotations(blank, place, "voc"))


# -- detecting --------------------------------------------------------------------------------


def test_the_classical_detector_finds_drawn_cells(detected: Project, smears: Path) -> None:
    rows = rows_of(detected).values()
    images, _ = run_job(annotating.read_annotations([smears], "voc"))
    truth = sum(len(i.boxes) for i in images)
    assert 0.7 * truth < len(rows) < 1.3 * truth
    assert {c.status for c in rows} == {Status.PROPOSED}
    assert {c.class_id for c in rows} == {None}
    assert {c.proposed.model_id for c in rows if c.proposed} == {detecting.CLASSICAL}
    assert all(0 <= c.score <= 1 for c in rows if c.score is not None)


def test_detecting_again_keeps_ids_and_what_was_reviewed(detected: Project) -> None:
    before = rows_of(detected)
    cells = list(before.values())
    detected.history.do(gestures.give_class(cells[:3], 1, "RBC", "ann"))
    detected.history.do(gestures.remove(cells[3:5], "ann"))
    detected.history.do(gestures.mark_unsure(cells[5:6], "ann"))
    y0, x0, y1, x1 = cells[6].box
    detected.history.do(gestures.move([(cells[6], (y0 + 2, x0, y1 + 2, x1))], "ann"))
    mine = {c.cell_id for c in cells[:7]}
    reviewed = {key: row for key, row in rows_of(detected).items() if key in mine}
    run = detect(detected)
    assert run.summary.kept == 7
    assert run.summary.new == run.summary.lost == 0
    after = rows_of(detected)
    assert after.keys() == before.keys()
    assert {key: after[key] for key in mine} == reviewed
    assert run.lines()


def test_a_run_is_one_step_to_undo(project: Project, smears: Path) -> None:
    add(project, [smears / "smear_001.png", smears / "smear_002.png"])
    run = detect(project)
    assert run.images == 2
    assert run.cells == len(rows_of(project)) > 10
    project.history.undo()
    assert not rows_of(project)
    project.history.redo()
    assert len(rows_of(project)) == run.cells


def test_a_missing_image_is_told_and_the_rest_goes_on(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    for k in (1, 2):
        shutil.copy(smears / f"smear_{k:03}.png", tmp_path)
    add(project, sorted(tmp_path.glob("*.png")))
    (tmp_path / "smear_001.png").unlink()
    run = detect(project)
    assert run.images == 1
    assert run.cells > 5
    assert len(run.failures) == 1
    assert "smear_001.png" in run.failures[0]
    assert run.lines()[-1] == run.failures[0]


def test_what_a_cancelled_run_had_is_kept(detected: Project) -> None:
    put_back = rows_of(detected)
    detected.history.undo()
    job = detecting.detect(detecting.request_detection(detected, detected.images))
    items = []
    for step in job:
        items += [step.item] if step.item is not None else []
        if len(items) == 2:
            break
    job.close()
    run = detecting.apply_detections(detected, items)
    assert run.images == 2
    assert 0 < len(rows_of(detected)) < len(put_back)


def test_requests_can_be_sent_to_another_process(detected: Project) -> None:
    request = detecting.request_detection(detected, detected.images, view=(0, 0, 50, 50))
    assert pickle.loads(pickle.dumps(request)) == request


def test_low_scores_are_left_out(blank: Project) -> None:
    boxes = ((0, 0, 10, 10), (20, 0, 30, 10), (40, 0, 50, 10))
    run = detecting.apply_detections(blank, [found(*boxes, scores=(0.9, 0.5, 0.49))], min_score=0.5)
    assert run.cells == 2
    assert sorted(c.box[0] for c in blank.cells.of_image("a")) == [0, 20]


def test_only_the_view_is_proposed_in_and_replaced(blank: Project) -> None:
    put(
        blank,
        a_cell(box=(0, 0, 10, 10), cell_id="gone"),
        a_cell(box=(60, 0, 70, 10), cell_id="outside"),
    )
    new = found((20, 20, 30, 30), (60, 60, 70, 70))
    run = detecting.apply_detections(blank, [new], view=(0, 0, 50, 50))
    rows = {c.cell_id: c for c in blank.cells.of_image("a")}
    assert (run.cells, run.summary.new, run.summary.lost) == (1, 1, 1)
    assert "outside" in rows
    assert "gone" not in rows
    assert {c.box for c in rows.values()} == {(60, 0, 70, 10), (20, 20, 30, 30)}


@pytest.mark.parametrize("origin", [Origin.MODEL, Origin.IMPORT])
def test_a_cell_on_the_views_border_is_not_proposed_twice(blank: Project, origin: Origin) -> None:
    put(blank, a_cell(box=(41, 0, 61, 20), origin=origin, cell_id="there"))
    run = detecting.apply_detections(blank, [found((39, 0, 59, 20))], view=(0, 0, 50, 50))
    assert run.summary.new == 0
    assert [c.cell_id for c in blank.cells.of_image("a")] == ["there"]


def test_classes_that_the_project_has_not_become_unclassed(blank: Project) -> None:
    new = found((0, 0, 9, 9), (20, 0, 29, 9), classes=(2, 77))
    detecting.apply_detections(blank, [new])
    assert [c.class_id for c in blank.cells.of_image("a")] == [2, None]


def test_with_one_class_everything_found_is_it(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", ["nucleus"]) as project:
        project.add_images([ImageRecord("a", "a.png", (1, 50, 50), "uint8", ("DNA",))])
        detecting.apply_detections(project, [found((0, 0, 9, 9))])
        assert [c.class_id for c in project.cells.of_image("a")] == [1]


def test_nothing_found_takes_the_old_proposals_away(blank: Project) -> None:
    put(blank, a_cell(cell_id="open"), a_cell(origin=Origin.PERSON, cell_id="drawn"))
    run = detecting.apply_detections(blank, [found()])
    assert (run.cells, run.summary.lost) == (0, 1)
    assert [c.cell_id for c in blank.cells.of_image("a")] == ["drawn"]


def test_results_for_images_that_are_gone_are_passed_over(blank: Project) -> None:
    items = [found((0, 0, 9, 9), image_id="zz"), ImageFailure("b", "b.png is missing.")]
    run = detecting.apply_detections(blank, items)
    assert (run.images, run.cells, run.failures) == (0, 0, ("b.png is missing.",))
    assert blank.history.undo_label == ""


def test_the_model_is_chosen_by_name(blank: Project) -> None:
    assert detecting.choose_model(blank) == SHIPPED
    with pytest.raises(ModelError, match="classical"):
        detecting.choose_model(blank, "yolo")
    card = ModelRecord("m1", "detector", "mobilenet_v3", (1,), ("RBC",), ("r", "g", "b"))
    blank.add_model(card)
    blank.add_model(replace(card, model_id="k1", kind="classifier"))
    assert detecting.choose_model(blank, "m1") == "m1"
    assert detecting.choose_model(blank) == SHIPPED
    training.use_detector(blank, "m1")
    assert detecting.choose_model(blank) == "m1"
    training.use_detector(blank, "deleted")
    assert detecting.choose_model(blank) == SHIPPED
    training.use_detector(blank, detecting.CLASSICAL)
    assert detecting.choose_model(blank) == detecting.CLASSICAL
    with pytest.raises(ModelError):
        detecting.choose_model(blank, "k1")


def test_a_model_for_other_channels_is_refused(blank: Project) -> None:
    blank.add_model(ModelRecord("m1", "detector", "mobilenet_v3", (1,), ("RBC",), ("DNA",)))
    with pytest.raises(ModelError, match=r"a\.png"):
        detecting.request_detection(blank, blank.images, model="m1")


# -- learning ---------------------------------------------------------------------------------


def test_the_pool_follows_the_splits(blank: Project) -> None:
    put(
        blank,
        a_cell("a", cell_id="ask"),
        a_cell("a", cell_id="learned", review=Review.CONFIRMED, class_id=2),
        a_cell("a", cell_id="drawn", origin=Origin.PERSON, review=Review.CONFIRMED),
        a_cell("a", cell_id="imported", origin=Origin.IMPORT),
        a_cell("a", cell_id="rejected", review=Review.REJECTED),
        a_cell("a", cell_id="unsure", review=Review.UNSURE),
        a_cell("a", cell_id="accepted", review=Review.CONFIRMED, class_id=None),
        a_cell("b", cell_id="check"),
        a_cell("b", cell_id="measured", review=Review.CONFIRMED),
        a_cell("c", cell_id="rest"),
        a_cell("c", cell_id="test", review=Review.CONFIRMED),
    )
    pool = pools.Pool(blank)
    assert pool.labelled == {"learned": 2, "drawn": 1}
    assert pool.holdout == {"measured": 1}
    assert set(pool.candidates) == {"ask", "imported", "accepted"}
    assert set(pool.checks) == {"check"}
    assert set(pool.test) == {"rest"}


def parts_of(pool: pools.Pool) -> list[Any]:
    return [pool.labelled, pool.holdout, set(pool.candidates), set(pool.checks), set(pool.test)]


@pytest.mark.parametrize("seed", range(5))
def test_a_pool_that_follows_is_the_pool_made_anew(blank: Project, seed: int) -> None:
    rng = random.Random(seed)
    pool = pools.Pool(blank)
    blank.history.changed.connect(pool.follow)
    table: tuple[str, ...] = ()
    for turn in range(40):
        rows = list(rows_of(blank).values())
        some = rng.sample(rows, min(len(rows), 3))
        y, x = rng.uniform(0, 80), rng.uniform(0, 80)
        box = (y, x, y + 12, x + 12)
        choose = [
            lambda box=box: gestures.draw(
                rng.choice("abc"), [box], rng.choice([None, 1, 2]), "ann"
            ),
            lambda box=box: edit_of("put", [(None, a_cell(rng.choice("abc"), box))]),
            lambda some=some: gestures.give_class(some, 2, "WBC", "ann"),
            lambda some=some: gestures.accept(some, "ann"),
            lambda some=some: gestures.remove(some, "ann"),
            lambda some=some: gestures.mark_unsure(some, "ann"),
            lambda some=some: gestures.reopen(some, "ann"),
        ]
        step = rng.randrange(len(choose) + 2)
        if step < len(choose):
            blank.history.do(choose[step]())
        elif step == len(choose):
            blank.history.undo()
        else:
            blank.history.redo()
        assert parts_of(pool) == parts_of(pools.Pool(blank))
        if turn % 10 == 0:  # measured anew; others come and go without being in the table
            table = tuple(rows_of(blank))
        asked = [key for key in table if key in pool.candidates]
        for left_out in ([], asked[:1]):
            found = pool.candidates_in(table, left_out)
            assert [table[row] for row in np.flatnonzero(found)] == asked[len(left_out) :]


def test_without_held_out_images_a_fifth_of_the_cells_is(tmp_path: Path) -> None:
    with Project.create(tmp_path / "p", ["A"]) as project:
        project.add_images([ImageRecord("a", "a.png", (1, 50, 50), "uint8", ("DNA",))])
        rng = random.Random(0)
        put(project, *(a_cell(cell_id=f"{rng.getrandbits(64):016x}") for _ in range(400)))
        pool = pools.Pool(project)
        assert len(pool.candidates) + len(pool.checks) == 400
        assert 50 < len(pool.checks) < 110
        assert list(pool.checks) == sorted(pool.checks)
        assert parts_of(pools.Pool(project)) == parts_of(pool)


@pytest.mark.parametrize(
    ("labelled", "holdout", "checks", "due"),
    [
        (0, 0, 9, False),
        (3, 0, 9, False),
        (4, 0, 9, True),
        (4, 1, 9, False),
        (8, 1, 9, True),
        (8, 1, 0, False),
        (1000, 99, 9, True),
        (1000, 100, 9, False),
    ],
)
def test_when_a_check_question_is_due(
    blank: Project, labelled: int, holdout: int, checks: int, due: bool
) -> None:
    pool = pools.Pool(blank)
    pool.labelled = {f"l{k}": 1 for k in range(labelled)}
    pool.holdout = {f"h{k}": 1 for k in range(holdout)}
    pool.checks = {f"k{k}": None for k in range(checks)}
    assert pools.check_is_due(pool) is due


def test_rejected_cells_are_not_measured(blank: Project) -> None:
    put(blank, a_cell(cell_id="x"), a_cell(cell_id="y", review=Review.REJECTED))
    (request,) = learning.measure_requests(blank)
    assert request.cell_ids == ("x",)
    assert learning.measure_requests(blank, ["b"]) == []


def test_cells_are_measured_on_their_masks(blank: Project) -> None:
    mask = mask_of(np.tri(12, dtype=bool), 10, 10)
    put(blank, replace(a_cell(cell_id="x"), mask=mask), a_cell(cell_id="y"))
    (request,) = learning.measure_requests(blank)
    assert dict(zip(request.cell_ids, request.masks, strict=True)) == {"x": mask, "y": None}
    left = simulating.only(request, {"x": 1})
    assert (left.cell_ids, left.masks) == (("x",), (mask,))


def label_some(project: Project, n: int = 12) -> dict[str, int]:
    """Class cells by size, as a person with a ruler would."""
    cells = [c for c in project.cells.with_status(Status.PROPOSED) if c.image_id in project.images]
    train = [c for c in cells if project.images[c.image_id].split is Split.TRAIN]
    train.sort(key=lambda c: (c.box[2] - c.box[0]) * (c.box[3] - c.box[1]))
    chosen = {c.cell_id: 3 for c in train[: n // 2]} | {c.cell_id: 1 for c in train[-n // 2 :]}
    for cell in train:
        if cell.cell_id in chosen:
            class_id = chosen[cell.cell_id]
            name = project.classes[class_id].name
            project.history.do(gestures.give_class([cell], class_id, name, "ann"))
    return chosen


def test_suggestions_are_candidates_and_depend_on_the_seed_alone(detected: Project) -> None:
    label_some(detected)
    measured = run_job(learning.measure(learning.measure_requests(detected), detected.cache_folder))
    pool = pools.Pool(detected)

    def ask(**options: Any) -> tuple[str, ...]:
        request = learning.request_suggestions(detected, measured, pool, **options)
        return run_job(learning.suggest(request)).suggestions.cell_ids

    chosen = ask(n=5)
    assert len(chosen) == 5
    assert set(chosen) <= set(pool.candidates)
    assert ask(n=5) == chosen
    assert not set(ask(n=5, leave_out=chosen)) & set(chosen)
    assert ask(n=10_000, strategy="random") != ask(n=10_000, strategy="random", seed=1)
    assert set(ask(n=10_000)) == set(pool.candidates)
    with pytest.raises(ModelError):
        ask(strategy="oracle")
    with pytest.raises(ModelError):
        ask(estimator="oracle")


def test_the_projects_seed_is_used_unless_another_is_given(blank: Project) -> None:
    blank.settings = blank.settings.model_copy(update={"seed": 7})
    pool = pools.Pool(blank)
    measured = learning.Measured("f", ())
    assert learning.request_suggestions(blank, measured, pool).seed == 7
    assert learning.request_suggestions(blank, measured, pool, seed=0).seed == 0


def test_measuring_again_replaces_the_table(detected: Project) -> None:
    requests = learning.measure_requests(detected)
    first = run_job(learning.measure(requests, detected.cache_folder))
    second = run_job(learning.measure(requests, detected.cache_folder))
    assert first.cell_ids == second.cell_ids
    assert first.path != second.path
    assert [str(p) for p in detected.cache_folder.glob("features-*.npz")] == [second.path]


def test_classing_the_rest_is_one_step_and_leaves_others_work_alone(detected: Project) -> None:
    labelled = label_some(detected)
    proposals = [c for c in rows_of(detected).values() if c.status is Status.PROPOSED]
    detected.history.do(gestures.remove(proposals[:2], "ann"))
    detected.history.do(gestures.mark_unsure(proposals[2:3], "ann"))
    put(detected, replace(proposals[3], cell_id="imp", origin=Origin.IMPORT, proposed=None))
    before = rows_of(detected)
    measured = run_job(learning.measure(learning.measure_requests(detected), detected.cache_folder))
    pool = pools.Pool(detected)
    predicted = run_job(learning.class_rest(learning.request_rest(detected, measured, pool)))
    assert "imp" in predicted
    n = learning.apply_classes(detected, predicted, 0.0)
    after = rows_of(detected)
    changed = {key for key in after if after[key] != before[key]}
    assert n == len(changed) > 20
    assert not changed & (set(labelled) | {c.cell_id for c in proposals[:3]} | {"imp"})
    for key in changed:
        old, new = before[key], after[key]
        assert new.status is Status.PROPOSED
        assert (new.box, new.score) == (old.box, old.score)
        assert new.class_id in (1, 3)
        assert new.proposed is not None
        assert new.proposed.class_id == new.class_id
        assert new.proposed.model_id == f"{detecting.CLASSICAL}+{learning.LEARNER}"
        assert sum(p for _, p in new.proposed.probabilities) == pytest.approx(1)
    splits = {detected.images[after[key].image_id].split for key in changed}
    assert splits == set(Split)
    detected.history.undo()
    assert rows_of(detected) == before


def test_cells_that_the_learner_does_not_look_at_are_classed_too(detected: Project) -> None:
    label_some(detected)
    first, *_, last = sorted(
        (k for k, r in detected.images.items() if r.split is Split.TRAIN),
        key=lambda k: len(detected.cells.of_image(k)),
        reverse=True,
    )
    looked_at = [k for k in detected.images if k != last]
    other = next(c for c in detected.cells.of_image(last) if c.status is Status.PROPOSED)
    put(detected, replace(other, cell_id="imp", origin=Origin.IMPORT, proposed=None))
    before = rows_of(detected)
    requests = learning.measure_requests(detected, looked_at)
    measured = run_job(learning.measure(requests, detected.cache_folder))
    pool = pools.Pool(detected, looked_at)
    request = classing_rest.request_everywhere(detected, measured, pool, looked_at)
    items = [
        step.item
        for step in classing_rest.class_everywhere(pickle.loads(pickle.dumps(request)))
        if step.item is not None
    ]
    assert len(items) == 2
    for predicted in items:
        finish(learning.class_steps(detected, predicted, 0.0, run="one"))
    open_cells = {k for k, c in before.items() if c.status is Status.PROPOSED}
    changed = {k for k, c in rows_of(detected).items() if c != before[k]}
    assert changed == open_cells
    there = {k for k in changed if before[k].image_id == last}
    assert there == set(items[1])
    detected.history.undo()
    assert rows_of(detected) == before
    # the learner says of a cell what it would say had it been looked at
    table = FeatureTable.load(measured.path)
    known = {k for k, c in before.items() if c.image_id == first}
    rows = [k for k, key in enumerate(table.cell_ids) if key in known and key in items[0]]
    some = FeatureTable(tuple(table.cell_ids[k] for k in rows), table.names, table.values[rows])
    for key, pairs in predict_others(request.rest)(some).items():
        assert dict(pairs) == pytest.approx(dict(items[0][key]), abs=1e-4)


def test_a_run_counts_the_cells_without_a_class(detected: Project) -> None:
    first, *_ = detected.images
    mine, *rest = [c for c in detected.cells.of_image(first) if c.status is Status.PROPOSED]
    detected.history.do(gestures.give_class([mine], 1, "RBC", "ann"))
    run = detect(detected, model="classical")
    assert run.summary.new == 0
    assert run.unclassed == len(rest_of(detected)) > len(rest)
    assert str(run.unclassed) in " ".join(run.lines()[1:])
    item = Detections(first, ((0.0, 0.0, 9.0, 9.0),), (0.9,), (1,), "m")
    run = detecting.apply_detections(detected, [item])
    assert run.unclassed == 0
    assert len(run.lines()) == 1


def rest_of(project: Project) -> list[Cell]:
    """Return the open proposals without a class."""
    return [c for c in project.cells.with_status(Status.PROPOSED) if c.class_id is None]


def test_applying_classes_twice_changes_nothing_more(blank: Project) -> None:
    put(blank, a_cell(cell_id="x", class_id=None))
    predicted = {"x": ((2, 0.8), (1, 0.2)), "gone": ((2, 1.0),)}
    assert learning.apply_classes(blank, predicted, 0.9) == 0
    assert learning.apply_classes(blank, predicted, 0.8) == 1
    assert learning.apply_classes(blank, predicted, 0.8) == 0
    row = blank.cells.get("x")
    assert row is not None
    assert row.class_id == 2
    assert row.proposed is not None
    assert row.proposed.model_id == f"old+{learning.LEARNER}"


def test_labels_of_one_class_class_nothing(detected: Project) -> None:
    cell = next(c for c in rows_of(detected).values())
    detected.history.do(gestures.give_class([cell], 1, "RBC", "ann"))
    measured = run_job(learning.measure(learning.measure_requests(detected), detected.cache_folder))
    request = learning.request_rest(detected, measured, pools.Pool(detected))
    assert run_job(learning.class_rest(request)) == {}


# -- evaluating -------------------------------------------------------------------------------


def figures(project: Project, detections: list[Detections], split: str = "test") -> dict[str, Any]:
    if not project.images["c"].finished:
        project.history.do(gestures.finish_image("c", "c.png", [], "ann"))
    return evaluating.figures(evaluating.request_evaluation(project, split=split), detections)


def confirmed(box: tuple[float, float, float, float], class_id: int, image_id: str = "c") -> Cell:
    return a_cell(image_id, box, class_id, Origin.IMPORT, Review.CONFIRMED)


ONE, TWO, THREE = (0, 0, 20, 20), (40, 0, 60, 20), (0, 60, 20, 80)


def test_figures_against_truth_made_by_hand(blank: Project) -> None:
    put(blank, confirmed(ONE, 1), confirmed(TWO, 1), confirmed(THREE, 2))
    said = found(ONE, TWO, (70, 70, 90, 90), image_id="c", classes=(1, 2, 1))
    result = figures(blank, [said])
    assert (result["images"], result["cells"], result["model"]) == (1, 3, "shipped")
    rbc, wbc, platelets = (result["per_class"][name] for name in CLASSES)
    assert (rbc["precision"], rbc["recall"], rbc["support"]) == (0.5, 0.5, 2)
    assert (wbc["precision"], wbc["recall"], wbc["support"]) == (0.0, 0.0, 1)
    assert (platelets["ap50"], platelets["support"]) == (None, 0)
    assert rbc["ap50"] == pytest.approx(51 / 101)  # right at 1.0, then never more than half
    assert result["map50"] == pytest.approx((51 / 101 + 0) / 2)
    assert result["any_class"]["precision"] == pytest.approx(2 / 3)
    assert result["any_class"]["recall"] == pytest.approx(2 / 3)
    assert result["confusion"]["classes"] == list(CLASSES)
    assert result["confusion"]["counts"] == [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_the_interval_follows_the_seed(tmp_path: Path) -> None:
    with Project.create(tmp_path / "many", ["RBC"]) as project:
        record = ImageRecord("", "", (1, 100, 100), "uint8", ("gray",), split=Split.TEST)
        ids = [f"i{k}" for k in range(12)]
        project.add_images(
            [replace(record, image_id=k, path=f"{k}.png", finished=True) for k in ids]
        )
        box = (10.0, 10.0, 30.0, 30.0)
        truth = {k: ([box, (50.0, 50.0, 70.0, 70.0)], [1, 1]) for k in ids}
        found = [
            Detections(k, (box,) * (n % 3), (0.5,) * (n % 3), (1,) * (n % 3), "m")
            for n, k in enumerate(ids)
        ]

        def interval(seed: int) -> Any:
            request = evaluating.request_evaluation(project, truth=truth, seed=seed)
            return evaluating.figures(request, found)["interval"]

        assert interval(1) == interval(1)
        assert len({tuple(interval(seed)) for seed in range(5)}) > 1


def test_a_perfect_detector_scores_one(blank: Project) -> None:
    put(blank, confirmed(ONE, 1), confirmed(TWO, 2))
    result = figures(blank, [found(ONE, TWO, image_id="c", classes=(1, 2))])
    assert result["map50"] == result["map5095"] == pytest.approx(1)
    assert result["interval"] == pytest.approx([1, 1])


def test_truth_is_what_was_confirmed_in_the_split(blank: Project) -> None:
    put(
        blank,
        confirmed(ONE, 1),
        a_cell("c", TWO),
        a_cell("c", THREE, review=Review.REJECTED),
        a_cell("c", THREE, class_id=None, review=Review.CONFIRMED),
        confirmed(ONE, 1, "a"),
    )
    assert evaluating.truth_of(blank, Split.TEST) == {}  # not finished: where is no cell?
    blank.history.do(gestures.finish_image("c", "c.png", [], "ann"))
    assert evaluating.truth_of(blank, Split.TEST) == {"c": ([ONE, THREE], [1, None])}
    put(blank, a_cell("c", THREE, review=Review.UNSURE))
    assert evaluating.truth_of(blank, Split.TEST) == {}
    assert evaluating.truth_of(blank, Split.VAL) == {}
    blank.history.do(gestures.finish_image("b", "b.png", [], "ann"))
    assert evaluating.truth_of(blank, Split.VAL) == {"b": ([], [])}


def test_a_split_without_truth_is_an_error(blank: Project) -> None:
    for split in ("test", "holdout"):
        with pytest.raises(CellalError):
            evaluating.request_evaluation(blank, split=split)


def test_a_retired_class_does_not_break_the_figures(blank: Project) -> None:
    put(blank, confirmed(ONE, 1), confirmed(TWO, 2))
    blank.update_class(replace(blank.classes[2], retired=True))
    result = figures(blank, [found(ONE, image_id="c", classes=(1,))])
    assert set(result["per_class"]) == {"RBC", "Platelets"}
    assert result["map50"] == pytest.approx(1)


def test_evaluating_runs_the_model_and_names_what_it_cannot_read(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    for k in (1, 2):
        shutil.copy(smears / f"smear_{k:03}.png", tmp_path)
    names = ("smear_001", "smear_002")
    add(project, sorted(tmp_path.glob("*.png")), dict.fromkeys(names, Split.TEST))
    import_voc(project, smears, confirm=True)
    request = evaluating.request_evaluation(project, score=0.0)
    whole = run_job(evaluating.evaluate(request))
    assert whole["failures"] == []
    assert whole["any_class"]["recall"] > 0.7
    (tmp_path / "smear_002.png").unlink()
    part = run_job(evaluating.evaluate(request))
    assert len(part["failures"]) == 1
    assert "smear_002.png" in part["failures"][0]
    assert part["any_class"]["recall"] < whole["any_class"]["recall"]


def test_the_learner_can_class_what_a_detector_found(detected: Project, smears: Path) -> None:
    label_some(detected)
    measured = run_job(learning.measure(learning.measure_requests(detected), detected.cache_folder))
    images, _ = run_job(annotating.read_annotations([smears], "voc"))
    by_stem = {Path(i.image_name).stem: i for i in images}
    truth: evaluating.Truth = {}
    for key, r in detected.images.items():
        if r.split is Split.TEST:
            boxes = by_stem[Path(r.name).stem].boxes
            truth[key] = ([b.box for b in boxes], [CLASSES.index(b.class_name) + 1 for b in boxes])
    learner = evaluating.LearnerRequest(
        measured.path,
        pools.Pool(detected).labelled,
        tuple(learning.measure_requests(detected)),
        str(detected.cache_folder),
    )
    request = evaluating.request_evaluation(detected, truth=truth, learner=learner, score=0.0)
    result = run_job(evaluating.evaluate(request))
    assert result["model"] == f"{detecting.CLASSICAL}+{learning.LEARNER}"
    assert result["per_class"]["RBC"]["ap50"] > 0.5


# -- simulating -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def labelled_folder(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose every cell is confirmed."""
    with Project.create(tmp_path_factory.mktemp("labelled") / "l", CLASSES) as project:
        add(project, [smears], splits_of(smears))
        import_voc(project, smears, confirm=True)
        return project.folder


@pytest.fixture
def labelled(labelled_folder: Path) -> Iterator[Project]:
    with Project.open(labelled_folder) as project:
        yield project


def test_simulating_gives_a_curve_a_strategy(labelled: Project) -> None:
    request = simulating.request_simulation(labelled, seeds=2, steps=6)
    result = run_job(simulating.simulate(pickle.loads(pickle.dumps(request))))
    assert set(result["curves"]) == {"automatic", "random"}
    assert [p["labels"] for p in result["curves"]["random"]] == list(range(7))
    assert all(p["low"] <= p["mean"] <= p["high"] for p in result["curves"]["random"])
    assert result["seeds"] == 2
    assert set(result["labels_to"]) == set(result["worst_labels_to"]) == set(result["reached"])


def test_simulations_repeat_and_depend_on_the_seed(labelled: Project) -> None:
    def curve(seed: int) -> Any:
        request = simulating.request_simulation(
            labelled, strategies=["random"], seeds=2, steps=12, seed=seed
        )
        return run_job(simulating.simulate(request))["curves"]["random"]

    assert curve(0) == curve(0)
    assert curve(0) != curve(5)


def test_only_some_classes_can_be_simulated(labelled: Project) -> None:
    request = simulating.request_simulation(labelled, classes=["RBC", "wbc"])
    assert set(request.labels.values()) == {1, 2}
    with pytest.raises(CellalError, match="Neutrophil"):
        simulating.request_simulation(labelled, classes=["RBC", "Neutrophil"])
    with pytest.raises(CellalError):
        simulating.request_simulation(labelled, classes=["RBC"])


def test_unknown_strategies_and_estimators_are_errors(labelled: Project) -> None:
    for options, known in (({"strategies": ["oracle"]}, "margin"), ({"estimator": "x"}, "svm")):
        request = simulating.request_simulation(labelled, seeds=1, steps=3, **options)
        with pytest.raises(ModelError, match=known):
            run_job(simulating.simulate(request))


@pytest.mark.parametrize("n", [0, 1, 2, 6])
def test_too_few_labels_to_simulate_are_an_error(blank: Project, n: int) -> None:
    # scikit-learn cannot split six cells of three classes in two
    put(blank, *(confirmed((0, 5.0 * k, 4, 5.0 * k + 4), k % 3 + 1, "a") for k in range(n)))
    with pytest.raises(CellalError):
        simulating.request_simulation(blank)


@pytest.mark.parametrize("n", range(10, 16))
def test_enough_labels_to_simulate_do(labelled: Project, n: int) -> None:
    request = simulating.request_simulation(labelled, seeds=1, steps=2)
    one_each = {c: k for k, c in reversed(request.labels.items())}
    chosen = {k: c for c, k in one_each.items()}
    for key, class_id in request.labels.items():
        if len(chosen) < n:
            chosen[key] = class_id
    few = replace(
        request, labels=chosen, measure=tuple(simulating.only(r, chosen) for r in request.measure)
    )
    assert run_job(simulating.simulate(few))["pool"] > 0


def test_a_simulation_of_images_that_are_gone_is_an_error(
    project: Project, smears: Path, tmp_path: Path
) -> None:
    shutil.copy(smears / "smear_001.png", tmp_path)
    add(project, [tmp_path / "smear_001.png"])
    import_voc(project, smears, confirm=True)
    (tmp_path / "smear_001.png").unlink()
    request = simulating.request_simulation(project)
    with pytest.raises(CellalError):
        run_job(simulating.simulate(request))


# -- training ---------------------------------------------------------------------------------


def test_what_would_be_trained_on(labelled: Project) -> None:
    seen = training.training_set(labelled)
    assert seen.images == seen.complete == 4
    assert set(seen.boxes) == set(CLASSES)
    assert seen.val_images == 1
    assert seen.val_boxes > 5
    assert "RBC" in seen.line()
    assert sum(seen.val_by_class.values()) == seen.val_boxes
    assert not seen.missing


def test_what_is_thin_in_the_labels_is_said(blank: Project) -> None:
    def said_of(word: str) -> int:
        return sum(word in line for line in training.training_set(blank).warnings())

    put(blank, confirmed(ONE, 2, "a"))
    assert said_of("WBC") == 2  # one example, and no other class
    assert said_of("RBC") == said_of("Platelets") == 1  # no example
    nothing_held_out = len(training.training_set(blank).warnings())
    put(blank, confirmed(ONE, 1, "b"))
    blank.history.do(gestures.finish_image("b", blank.images["b"].name, [], "me"))
    assert training.training_set(blank).val_by_class == {"RBC": 1}
    assert said_of("WBC") == 3  # what is held out does not show it
    assert said_of("RBC") == 2  # no example, and what is held out gives no curve for it
    # these two more, and no longer that nothing is held out
    assert len(training.training_set(blank).warnings()) == nothing_held_out + 1


def test_a_model_is_compared_by_what_both_can_do() -> None:
    def figures(model: str, map50: float | None, blind: float) -> dict[str, Any]:
        return {"model": model, "map50": map50, "any_class": {"ap50": blind}}

    classical = figures("classical", 0.0, 0.46)  # it gives no classes
    poor, good = figures("a", 0.04, 0.1), figures("b", 0.3, 0.6)
    assert not evaluating.is_better(poor, classical)
    assert evaluating.is_better(good, classical)
    assert evaluating.is_better(figures("c", 0.31, 0.5), good)
    assert not evaluating.is_better(figures("d", None, 0.9), good)


def test_training_takes_labels_and_hard_negatives_of_the_train_split(blank: Project) -> None:
    rejected = (60, 0, 80, 20)
    put(
        blank,
        confirmed(ONE, 2, "a"),
        a_cell("a", TWO),
        a_cell("a", rejected, review=Review.REJECTED),
        confirmed(ONE, 1, "b"),
        confirmed(ONE, 3, "c"),
    )
    request = training.request_training(blank, start="scratch")
    (image,) = request.images
    assert (image.boxes, image.class_ids, image.rejected) == ((ONE,), (2,), (rejected,))
    assert not image.complete
    assert image.unreviewed == (TWO,)
    assert (request.class_ids, request.class_names) == ((2,), ("WBC",))
    assert [i.class_ids for i in request.val_images] == [(1,)]
    assert pickle.loads(pickle.dumps(request)) == request


def test_few_images_get_fewer_steps_where_the_start_knows_cells(blank: Project) -> None:
    put(blank, confirmed(ONE, 2, "a"))
    full = find_preset("fast").settings
    assert (
        training.settings_for(blank).steps
        == training.settings_for(blank, start="shipped").steps
        < full.steps
    )
    assert training.settings_for(blank, start="scratch").steps == full.steps
    # a network that the shipped weights do not fit starts from other things than cells
    accurate = find_preset("accurate").settings
    assert training.settings_for(blank, "accurate").steps == accurate.steps
    assert training.settings_for(blank, "dense").steps == full.steps  # its heads are new
    assert training.settings_for(blank, steps=7).steps == 7
    steps = [for_images(full, n).steps for n in (1, 5, 20, 90, 180, 1000)]
    assert steps == sorted(steps)
    assert steps[-2:] == [full.steps, full.steps]
    kept = [for_images(full, n).keep_start for n in (0, 1, 5, 20, 90, 180, 1000)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > 0.25
    assert kept[-1] == 0
    short = full.model_copy(update={"steps": 10})
    assert for_images(short, 1).steps == 10


def test_training_without_labels_is_an_error(blank: Project) -> None:
    put(blank, a_cell("a"), confirmed(ONE, 1, "b"), confirmed(ONE, 1, "c"))
    with pytest.raises(ModelError):
        training.request_training(blank)


def test_training_on_retired_classes_alone_is_an_error(blank: Project) -> None:
    put(blank, confirmed(ONE, 2, "a"))
    blank.update_class(replace(blank.classes[2], retired=True))
    with pytest.raises(ModelError):
        training.request_training(blank)


def test_training_on_images_of_several_kinds_is_an_error(blank: Project) -> None:
    put(blank, confirmed(ONE, 1, "a"))
    blank.add_images([ImageRecord("g", "g.tif", (1, 50, 50), "uint8", ("DNA",))])
    with pytest.raises(ModelError):
        training.request_training(blank)


@pytest.mark.parametrize(("preset", "start"), [("huge", "scratch"), ("fast", "no.safetensors")])
def test_unknown_presets_and_starts_are_errors(labelled: Project, preset: str, start: str) -> None:
    with pytest.raises(CellalError):
        run_job(
            training.train(
                training.request_training(labelled, preset=preset, start=start, device="cpu")
            )
        )
    assert not labelled.models


def test_registering_a_model_may_put_it_to_use(blank: Project, tmp_path: Path) -> None:
    from napari_cellal.detect.requests import TrainedModel

    card = ModelRecord("m1", "detector", "mobilenet_v3", (1,), ("RBC",), ("r", "g", "b"))
    trained = TrainedModel(card, str(blank.model_folder("m1")))
    training.register_model(blank, trained, use=False)
    assert [m.model_id for m in blank.models] == ["m1"]
    assert blank.settings.detector == "auto"
    training.register_model(blank, trained, use=True)
    assert len(blank.models) == 1
    assert blank.settings.detector == "m1"
    put(blank, confirmed(ONE, 1, "a"))
    assert training.request_training(blank, start="m1").start == str(blank.model_folder("m1"))


def test_an_imported_box_takes_the_place_of_an_open_proposal(tmp_path: Path) -> None:
    record = ImageRecord("i", "one.png", (1, 100, 100), "uint8", ("gray",))
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        project.add_images([record])
        box = (10.0, 10.0, 30.0, 30.0)
        said = Proposal(box, None, 0.5, "classical")
        same = Cell("same", "i", box, None, Origin.MODEL, proposed=said)
        other = replace(same, cell_id="other", box=(60.0, 60.0, 80.0, 80.0))
        project.history.do(edit_of("detected", [(None, same), (None, other)]))
        brought = ImportedImage(
            tmp_path / "one.xml",
            "one.png",
            (100, 100),
            (ImportedBox((11.0, 10.0, 31.0, 30.0), "RBC"),),
        )
        annotating.import_annotations(project, [brought], ImportReport(1, 1, 1), confirm=True)
        rows = {c.cell_id: c for c in project.cells.of_image("i")}
        assert "same" not in rows
        assert "other" in rows
        assert [c.status for c in rows.values() if c.cell_id != "other"] == [Status.CONFIRMED]
        project.history.undo()
        assert {c.cell_id for c in project.cells.of_image("i")} == {"same", "other"}


@pytest.mark.parametrize("confirm", [False, True])
def test_an_imported_box_never_stands_beside_what_a_person_said(
    blank: Project, confirm: bool
) -> None:
    rbc, wbc = blank.class_named("RBC"), blank.class_named("WBC")
    assert rbc is not None
    assert wbc is not None
    said = [
        Cell("other class", "a", (10, 10, 30, 30), wbc.class_id, review=Review.CONFIRMED),
        Cell("moved", "a", (10, 50, 30, 70), rbc.class_id, Origin.IMPORT, Review.CONFIRMED),
        Cell("no cell", "a", (50, 10, 70, 30), rbc.class_id, Origin.MODEL, Review.REJECTED),
        Cell("unsure", "a", (50, 50, 70, 70), rbc.class_id, Origin.MODEL, Review.UNSURE),
        Cell("the same", "a", (10, 90, 30, 110), rbc.class_id, Origin.IMPORT, Review.CONFIRMED),
    ]
    blank.history.do(edit_of("said", [(None, c) for c in said]))
    boxes = (
        ImportedBox((10, 10, 30, 30), "RBC"),
        ImportedBox((13, 50, 33, 70), "RBC"),
        ImportedBox((50, 10, 70, 30), "RBC"),
        ImportedBox((50, 52, 70, 72), "RBC"),
        ImportedBox((10, 90, 30, 110), "RBC"),
        ImportedBox((24, 90, 44, 110), "RBC"),  # a neighbour that touches
        ImportedBox((75, 75, 90, 90), "RBC"),
        ImportedBox((75, 75, 90, 90), "WBC"),  # doubled in the file: both come
    )
    image = ImportedImage(Path("a.xml"), "a.png", None, boxes)
    done = annotating.import_annotations(blank, [image], NO_REPORT, confirm=confirm)
    assert (done.boxes, done.repeated, done.kept, done.confirmed) == (3, 1, 4, 0)
    rows = {c.cell_id: c for c in blank.cells.of_image("a")}
    assert [rows[c.cell_id] for c in said] == said
    new = sorted(c.box for key, c in rows.items() if key not in {s.cell_id for s in said})
    assert new == [(24, 90, 44, 110), (75, 75, 90, 90), (75, 75, 90, 90)]
    again = annotating.import_annotations(blank, [image], NO_REPORT, confirm=confirm)
    assert (again.boxes, again.repeated, again.kept) == (0, 4, 4)


@pytest.mark.parametrize("review", [Review.UNSURE, Review.CONFIRMED])
def test_a_finished_image_with_a_doubtful_cell_does_not_teach_background(
    tmp_path: Path, review: Review
) -> None:
    record = ImageRecord("i", "one.png", (1, 100, 100), "uint8", ("gray",), finished=True)
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        project.add_images([record])
        label = Cell("a", "i", (1.0, 1.0, 9.0, 9.0), 1, Origin.PERSON, Review.CONFIRMED)
        project.history.do(edit_of("drew", [(None, label)]))
        assert training.request_training(project).images[0].complete
        doubt = Cell("b", "i", (20.0, 20.0, 30.0, 30.0), None, Origin.MODEL, review)
        project.history.do(edit_of("doubt", [(None, doubt)]))
        assert not training.request_training(project).images[0].complete
