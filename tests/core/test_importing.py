"""Annotations into a project: classes by other names, dry runs, and what files carry."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, Origin, Proposal, Review, Status, new_id
from napari_cellal.io.exchange.formats import FORMATS
from napari_cellal.io.exchange.report import ImportedBox, ImportedImage, ImportReport
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, annotating, exporting

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_REPORT = ImportReport(1, 1, 0)
KEEP_REVIEW = {"coco", "geojson", "csv"}
KEEP_COLOR = {"coco", "geojson"}


def picture(file: Path, seed: int, shape: tuple[int, int] = (50, 80)) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def new_project(folder: Path, images: Path, *classes: str) -> Project:
    project = Project.create(folder, classes)
    adding.add_looked(project, run_job(adding.look_at_images([images])))
    return project


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for k, name in enumerate(("A01/001.png", "A02/001.png", "a.b.png", "c.png")):
        picture(tmp_path / "images" / name, k)
    return tmp_path / "images"


@pytest.fixture
def project(tmp_path: Path, images: Path) -> Iterator[Project]:
    with new_project(tmp_path / "p.cellal", images, "RBC", "WBC") as opened:
        yield opened


def said(name: str, *boxes: ImportedBox, **more: Any) -> ImportedImage:
    return ImportedImage(Path("x/annotations"), name, None, boxes, **more)


def cells(project: Project) -> list[Cell]:
    return [c for key in project.images for c in project.cells.of_image(key)]


def bring(project: Project, *found: ImportedImage, **more: Any) -> annotating.Imported:
    return annotating.import_annotations(project, found, NO_REPORT, **more)


BOX = ImportedBox((1, 2, 11, 12), "rbc")


def test_a_dry_run_tells_what_comes_in_and_changes_nothing(project: Project) -> None:
    found = (
        said(
            "c.png", BOX, ImportedBox((20, 20, 30, 30), "Bl;ast"), ImportedBox((45, 0, 90, 9), "")
        ),
        said("c.png", ImportedBox((60, 20, 70, 30), "RBC")),
        said("nowhere.png", BOX),
        said("001.png", BOX),
    )
    report = ImportReport(1, 4, 6, colors={"Bl;ast": "#123456"})
    dry = annotating.import_annotations(project, found, report, dry_run=True)
    assert not cells(project)
    assert len(project.classes) == 2
    assert project.history.undo_label == ""
    assert (dry.images, dry.boxes, dry.matched, dry.clipped, dry.outside) == (1, 3, 2, 1, 1)
    assert dry.unmatched == ("nowhere.png",)
    assert [(k.name, k.becomes, k.is_new, k.boxes) for k in dry.classes] == [
        ("rbc", "RBC", False, 1),
        ("Bl;ast", "Bl;ast", True, 1),
        ("", "", False, 1),
        ("RBC", "RBC", False, 1),
    ]
    assert dry.classes_added == ("Bl;ast",)
    real = annotating.import_annotations(project, found, report)
    assert replace(real, dry_run=True) == dry
    assert len(cells(project)) == 3
    new = project.class_named("Bl;ast")
    assert new is not None
    assert new.color == "#123456"


def test_classes_by_another_name(project: Project) -> None:
    items = (
        ImportedBox((1, 2, 11, 12), "rbc"),
        ImportedBox((20, 2, 31, 12), "Lymphocyte"),
        ImportedBox((20, 20, 31, 32), "dirt"),
        ImportedBox((20, 40, 31, 52), ""),
    )
    classes = {"Lymphocyte": "wbc", "dirt": "", "": "Unknown cell"}
    done = bring(project, said("c.png", *items), classes=classes)
    assert (done.boxes, done.classes_added) == (3, ("Unknown cell",))
    names = {c.class_id: c.name for c in project.classes.values()}
    assert [names[c.class_id or 0] for c in cells(project)] == ["RBC", "WBC", "Unknown cell"]
    with pytest.raises(CellalError, match="Monocyte"):
        bring(project, said("c.png", *items), classes={"Monocyte": "WBC"})


def test_images_are_told_apart_by_their_folders(project: Project) -> None:
    done = bring(
        project,
        said("001.png", BOX, parents=("plate", "A02")[1:]),
        said("001.png", BOX, parents=("elsewhere",)),
        said("a.b", BOX),
        said("cells_c", BOX, other_names=("nothing", "c")),
    )
    assert (done.matched, done.boxes) == (3, 3)
    places = {project.images[c.image_id].path.rsplit("/", 2)[-2:][0] for c in cells(project)}
    assert "A02" in places
    assert "A01" not in places
    assert len(done.problems) == 1


def test_shares_of_an_image_become_pixels(project: Project) -> None:
    share = ImportedBox((0.02000001, 0.025, 0.22, 0.1500001), "RBC")
    bring(project, said("c.png", share, relative=True))
    assert [c.box for c in cells(project)] == [(1, 2, 11, 12)]


@pytest.mark.parametrize("confirm", [False, True])
def test_what_the_file_says_of_reviews_is_kept(project: Project, confirm: bool) -> None:
    by = {"reviewed_by": "ann", "reviewed_at": "2026-01-01T00:00:00.000+00:00"}
    items = (
        ImportedBox((0, 0, 9, 9), "RBC", status="drawn", **by),
        ImportedBox((10, 0, 19, 9), "RBC", status="unsure", **by),
        ImportedBox(
            (20, 0, 29, 9),
            "RBC",
            status="proposed",
            score=0.5,
            model="m",
            probabilities=(("RBC", 0.5), ("nobody knows", 0.2), ("WBC", 0.3)),
        ),
        ImportedBox((30, 0, 39, 9), "RBC", score=0.25),
    )
    done = bring(project, said("c.png", *items, reviews=True, verified=True), confirm=confirm)
    first, second, third, fourth = cells(project)
    assert (first.status, first.reviewed_by) == (Status.CONFIRMED, "ann")
    assert second.status is Status.UNSURE
    assert (third.origin, third.score) == (Origin.MODEL, 0.5)
    assert third.proposed is not None
    assert (third.proposed.model_id, len(third.proposed.probabilities)) == ("m", 2)
    assert fourth.score == 0.25
    for cell in (third, fourth):
        assert cell.review is (Review.CONFIRMED if confirm else Review.OPEN)
    assert done.finished == 1
    assert {c.name for c in project.active_classes} == {"RBC", "WBC"}


def test_two_files_of_one_image_finish_it_once(project: Project) -> None:
    other = ImportedBox((30, 2, 41, 12), "WBC")
    done = bring(project, said("c.png", BOX), said("c.png", other), confirm=True, finished=True)
    assert (done.boxes, done.finished) == (2, 1)
    project.history.undo()
    assert not any(r.finished for r in project.images.values())


@pytest.mark.parametrize("name", FORMATS)
def test_a_project_goes_out_and_comes_in_again(
    tmp_path: Path, project: Project, images: Path, name: str
) -> None:
    """Boxes, classes and finished images by any format; reviews where there is a place."""
    key = next(k for k, r in project.images.items() if r.name == "c.png")
    boxes = [(0.0, 0.0, 10.0, 10.0), (5.0, 60.0, 50.0, 80.0), (20.0, 20.0, 41.0, 33.0)]
    boxes.append((0.0, 30.0, 12.0, 45.0))
    drawn = gestures.draw(key, boxes[:2], 1, "ann")
    project.history.do(drawn)
    unsure = list(drawn.after.values())[1]
    assert unsure is not None
    project.history.do(gestures.mark_unsure([unsure], "ann"))
    proposal = Proposal(boxes[2], 2, 0.625, "m1", ((1, 0.375), (2, 0.625)))
    row = Cell(new_id(), key, boxes[2], 2, Origin.MODEL, proposed=proposal)
    project.history.do(edit_of("detected", [(None, row)]))
    second = replace(row, cell_id=new_id(), box=boxes[3], proposed=replace(proposal, box=boxes[3]))
    project.history.do(edit_of("detected", [(None, second)]))
    project.history.do(gestures.give_class([second], 1, "RBC", "ann"))
    project.history.do(gestures.finish_image(key, "c.png", [], "ann"))
    project.update_class(replace(project.classes[2], color="#010203"))

    run_job(exporting.write_annotations(project, tmp_path / "out", name))
    with new_project(tmp_path / "q.cellal", images) as other:
        found = run_job(annotating.read_annotations([tmp_path / "out"], name))
        confirm = name not in KEEP_REVIEW
        done = annotating.import_annotations(other, *found, confirm=confirm)
        assert done.problems == ()
        assert done.unmatched == ()
        rows = {c.box: c for c in cells(other)}
        assert set(rows) == set(boxes)
        names = {b: other.classes[c.class_id or 0].name for b, c in rows.items()}
        assert names == dict(zip(boxes, ("RBC", "RBC", "WBC", "RBC"), strict=True))
        if name in KEEP_REVIEW:
            statuses = [rows[b].status for b in boxes]
            assert statuses == [
                Status.CONFIRMED, Status.UNSURE, Status.PROPOSED, Status.CORRECTED,
            ]  # fmt: skip
            corrected = rows[boxes[3]].proposed
            assert corrected is not None
            assert other.classes[corrected.class_id or 0].name == "WBC"  # the model's word
            again = rows[boxes[2]].proposed
            assert again is not None
            assert (again.score, again.model_id) == (0.625, "m1")
            assert [p for _, p in again.probabilities] == [0.375, 0.625]
        if name in KEEP_COLOR:
            kept = other.class_named("WBC")
            assert kept is not None
            assert kept.color == "#010203"
        if name in KEEP_REVIEW | {"voc"}:
            assert [r.name for r in other.images.values() if r.finished] == ["c.png"]


def proposed(project: Project, name: str, box: tuple[float, float, float, float]) -> Cell:
    """Put an open proposal of class 1 into an image and return it."""
    key = next(k for k, r in project.images.items() if r.name == name)
    row = Cell(new_id(), key, box, 1, Origin.MODEL, proposed=Proposal(box, 1, 0.5, "m"))
    project.history.do(edit_of("detected", [(None, row)]))
    return row


@pytest.mark.parametrize("confirm", [False, True])
def test_a_review_in_the_file_reaches_a_proposal_that_is_there(
    project: Project, confirm: bool
) -> None:
    wanted = (Status.REJECTED, Status.UNSURE, Status.CONFIRMED)
    boxes = [(0.0, x, 9.0, x + 9) for x in (0.0, 20.0, 40.0)]
    rows = [proposed(project, "c.png", box) for box in boxes]
    by = {"reviewed_by": "ann", "reviewed_at": "2026-01-01T00:00:00.000+00:00"}
    items = [
        ImportedBox(box, "RBC", status=str(status), **by)
        for box, status in zip(boxes, wanted, strict=True)
    ]
    done = bring(project, said("c.png", *items, reviews=True), confirm=confirm)
    assert (done.boxes, done.repeated) == (0, 3)
    after = cells(project)
    assert [c.cell_id for c in after] == [c.cell_id for c in rows]
    assert tuple(c.status for c in after) == wanted
    assert {c.reviewed_by for c in after} == {"ann"}
    project.history.undo()
    assert cells(project) == rows


def test_two_files_of_one_image_bring_a_box_once(project: Project) -> None:
    done = bring(project, said("c.png", BOX), said("c.png", BOX))
    assert (len(cells(project)), done.boxes, done.repeated) == (1, 1, 1)


@pytest.mark.parametrize("n", [1, 120, 130, 300])
def test_two_files_of_one_image_say_different_things(project: Project, n: int) -> None:
    """It makes no difference how many are written before the second file is looked at."""
    places = [(k // 40 * 2.0, k % 40 * 2.0, k // 40 * 2 + 2.0, k % 40 * 2 + 2.0) for k in range(n)]
    row = proposed(project, "c.png", places[0])
    first = said("c.png", *(ImportedBox(place, "WBC") for place in places))
    second = said("c.png", *(ImportedBox(place, "RBC") for place in places))
    done = bring(project, first, second, confirm=True)
    assert (done.boxes, done.repeated, done.confirmed) == (2 * n - 1, 1, 1)
    assert len(cells(project)) == 2 * n
    project.history.undo()
    assert cells(project) == [row]


def test_of_two_boxes_in_one_place_the_one_that_is_there_stays(project: Project) -> None:
    row = proposed(project, "c.png", BOX.box)
    bring(project, said("c.png", BOX, ImportedBox(BOX.box, "WBC")))
    after = cells(project)
    assert [c.class_id for c in after] == [1, 2]
    assert after[0] == row


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_a_plate_go_out_and_come_in_again(
    tmp_path: Path, project: Project, images: Path, name: str
) -> None:
    """Their names have folders, and a dot that begins no suffix."""
    titles = ["p.zarr/A/1/0", "p.zarr/A/2/0", "p.zarr/A/2/1 (z 1)", "p.zarr/B/1/0"]

    def name_anew(opened: Project) -> None:
        records = zip(opened.images.values(), titles, strict=True)
        opened.replace_images([replace(r, title=title) for r, title in records])

    name_anew(project)
    for k, key in enumerate(project.images):
        project.history.do(gestures.draw(key, [(k, 0.0, k + 10.0, 10.0)], 1, "ann"))
    run_job(exporting.write_annotations(project, tmp_path / "out", name))
    with new_project(tmp_path / "q.cellal", images) as other:
        name_anew(other)
        done = annotating.import_annotations(
            other, *run_job(annotating.read_annotations([tmp_path / "out"], name))
        )
        assert done.unmatched == done.problems == ()
        there = {other.images[c.image_id].name: c.box[0] for c in cells(other)}
        assert there == {title: float(k) for k, title in enumerate(titles)}


def test_a_class_of_spaces_is_none(project: Project) -> None:
    done = bring(project, said("c.png", BOX), classes={"rbc": " "})
    assert (done.boxes, done.classes_added) == (0, ())
    assert len(project.classes) == 2
