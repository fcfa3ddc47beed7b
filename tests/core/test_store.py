import random
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from napari_cellal.core.errors import ProjectError, StaleEditError
from napari_cellal.core.history import Edit, edit_of, finish
from napari_cellal.core.records import (
    Cell,
    ImageRecord,
    ModelRecord,
    Origin,
    Proposal,
    Review,
    Split,
    Status,
)
from napari_cellal.core.settings import ProjectSettings
from napari_cellal.io.store import Project, removal
from napari_cellal.io.store.search import density

IMAGES = ("i0", "i1", "i2")


def image(image_id: str) -> ImageRecord:
    return ImageRecord(image_id, f"images/{image_id}.tif", (4, 600, 800), "uint16", ("a", "b"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "cells", ["RBC", "WBC"]) as project:
        project.add_images([image(key) for key in IMAGES])
    return tmp_path / "cells.cellal"


@pytest.fixture
def project(folder: Path):
    with Project.open(folder) as project:
        yield project


def draw(project: Project, *cells: Cell) -> None:
    project.history.do(edit_of("drew", [(None, c) for c in cells]))


def many(n: int, seed: int = 0) -> list[Cell]:
    """Return cells of every kind; quarters of a pixel are exact in the R*Tree."""
    rng = random.Random(seed)
    cells = []
    for k in range(n):
        y, x, h, w = (rng.randrange(1, 4 * top) / 4 for top in (600, 800, 40, 40))
        box = (y, x, y + h, x + w)
        proposed = rng.choice([None, Proposal(box, rng.choice([1, 2, None]), rng.random(), "m")])
        cells.append(
            Cell(
                f"c{k}",
                rng.choice(IMAGES[:2]),
                box,
                rng.choice([None, 1, 2]),
                rng.choice(list(Origin)),
                rng.choice(list(Review)),
                proposed,
            )
        )
    return cells


# -- the folder -----------------------------------------------------------------------------


def test_create_adds_the_suffix_and_leaves_nothing_else(tmp_path: Path) -> None:
    with Project.create(tmp_path / "new" / "my cells") as project:
        assert project.folder == (tmp_path / "new" / "my cells.cellal").resolve()
        assert project.name == "my cells"
        assert project.cache_folder.is_dir()
        assert project.model_folder("m").parent.is_dir()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["my cells.cellal"]


@pytest.mark.parametrize("name", ["cells", "cells.cellal"])
def test_create_never_takes_an_existing_folder(folder: Path, name: str) -> None:
    with pytest.raises(ProjectError, match=r"cells\.cellal"):
        Project.create(folder.with_name(name))
    with Project.open(folder) as project:
        assert list(project.images) == list(IMAGES)


def test_names_with_dots_spaces_and_other_letters(tmp_path: Path) -> None:
    for name in ("plate 1.2", "зелёные клетки", "it's #1 100%"):
        Project.create(tmp_path / name, [name]).close()
        with Project.open(tmp_path / f"{name}.cellal") as project:
            assert project.name == name
            assert project.classes[1].name == name


def test_the_cache_may_be_deleted(project: Project) -> None:
    shutil.rmtree(project.cache_folder)
    assert project.cache_folder.is_dir()


def test_closing_twice_is_harmless(folder: Path) -> None:
    first = Project.open(folder)
    first.close()
    with Project.open(folder):
        owner, note = folder / "project.owner.json", folder / "cache" / "closed.txt"
        note.unlink()
        first.close()
        assert not note.exists()
        assert owner.exists()  # the second one's
        with pytest.raises(ProjectError, match=folder.name):
            Project.open(folder)


def test_a_closed_project_says_so(folder: Path) -> None:
    project = Project.open(folder)
    project.close()
    for use in (project.cells.counts, lambda: project.settings, lambda: project.models):
        with pytest.raises(ProjectError, match=folder.name):
            use()


def test_the_store_needs_neither_qt_nor_torch() -> None:
    code = (
        "import sys; import napari_cellal.io.store;"
        "heavy = {'torch', 'napari', 'qtpy', 'sklearn', 'skimage', 'scipy'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the lock -------------------------------------------------------------------------------


def test_a_second_open_in_the_same_process_is_refused(folder: Path, project: Project) -> None:
    with pytest.raises(ProjectError, match=folder.name):
        Project.open(folder)
    draw(project, many(1)[0])  # the first goes on working
    project.close()
    with Project.open(folder) as again:
        assert len(again.cells.rows(["c0"])) == 1


HOLD = (
    "import sys; from napari_cellal.io.store import Project; p = Project.open(sys.argv[1]);"
    "print('held', flush=True); sys.stdin.read()"
)


def hold(folder: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    return holder


def test_another_process_locks_until_it_is_killed(folder: Path) -> None:
    with hold(folder) as holder:
        try:
            with pytest.raises(ProjectError, match=folder.name) as caught:
                Project.open(folder)
            assert str(holder.pid) in str(caught.value)
        finally:
            holder.kill()  # SIGKILL: nothing of its own cleaning up runs
    Project.open(folder).close()


def test_a_process_is_refused_what_this_one_holds(folder: Path, project: Project) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "ProjectError" in done.stderr
    assert folder.name in done.stderr


# -- what goes in comes out -----------------------------------------------------------------


def test_a_cell_comes_back_as_it_was(folder: Path) -> None:
    box = (0.1, 1 / 3, 1e5 + 0.7, 2e5 + 1e-3)  # doubles, not the R*Tree's rounded numbers
    proposed = Proposal((0.1, 0.2, 0.3, 0.4), None, 1 / 7, "m\"1'", ((1, 0.25), (7, 0.75)))
    full = Cell(
        "a", "i1", box, 7, Origin.IMPORT, Review.UNSURE, proposed, "Zoë", "2020", "Ж 'q' \n\"d\""
    )
    bare = Cell("b", "i1", (1.0, 2.0, 3.0, 4.0))
    whole = Cell("c", "i1", (1, 2, 3, 4))
    with Project.open(folder) as project:
        draw(project, full, bare, whole)
    with Project.open(folder) as project:
        assert project.cells.of_image("i1") == [full, bare, whole]
        assert project.cells.get("a") == full
        assert project.cells.get("nobody") is None
        edit = project.history.undo()
        assert edit is not None
        assert edit.after == {"a": full, "b": bare, "c": whole}


def test_images_come_back_as_they_were(folder: Path) -> None:
    record = ImageRecord(
        "x", "/data/plate 1/Ж.nd2", (5, 10, 20), "float32", ("DAPI", "Ж"), False, 1, 2, 3, 0.325,
        "sha", "plate 1", Split.VAL, True,
    )  # fmt: skip
    color = ImageRecord("y", "y.png", (3, 5, 5), "uint8", ("r", "g", "b"), rgb=True)
    with Project.open(folder) as project:
        heard: list[int] = []
        project.images_changed.connect(lambda: heard.append(len(project.images)))
        project.add_images([record, color])
        assert heard == [5]
    with Project.open(folder) as project:
        assert list(project.images) == [*IMAGES, "x", "y"]
        assert project.images["x"] == record
        assert project.images["y"] == color


def test_images_are_added_all_or_none(project: Project) -> None:
    with pytest.raises(ProjectError, match=project.folder.name):
        project.add_images([image("new"), image("i0")])
    assert list(project.images) == list(IMAGES)
    project.add_images([image("new")])


def test_a_split_stays_and_keeps_the_finished_mark(folder: Path) -> None:
    with Project.open(folder) as project:
        project.history.do(Edit("finished", {}, {}, {"i1": (False, True)}))
        project.set_split(["i0", "i1"], Split.TEST)
        project.history.undo()
        project.history.redo()
    with Project.open(folder) as project:
        assert [r.split for r in project.images.values()] == [Split.TEST, Split.TEST, Split.TRAIN]
        assert [r.finished for r in project.images.values()] == [False, True, False]


def in_image(cell_id: str, image_id: str, y: float = 0) -> Cell:
    return Cell(cell_id, image_id, (y, 0, y + 5, 5), review=Review.CONFIRMED)


def everything(project: Project) -> dict[str, dict[str, Cell]]:
    return {key: {c.cell_id: c for c in project.cells.of_image(key)} for key in project.images}


def test_a_removed_image_takes_its_cells_along_and_nothing_else(folder: Path) -> None:
    with Project.open(folder) as project:
        draw(project, *many(60))
        kept = {k: v for k, v in everything(project).items() if k != "i1"}
        counted = sum(len(cells) for cells in kept.values())
        project.remove_images(["i1"])
        assert everything(project) == kept
        assert sum(project.cells.counts().values()) == counted
        assert list(project.images) == ["i0", "i2"]
    with Project.open(folder) as project:
        assert everything(project) == kept
        project.add_images([image("i1")])
        assert project.cells.of_image("i1") == []
        assert project.cells.in_view("i1", (-1e6, -1e6, 1e6, 1e6)) == []


def test_undo_and_redo_go_on_with_the_images_that_stay(project: Project) -> None:
    states = [everything(project)]
    both = [in_image("a", "i0"), in_image("b", "i1")]
    draw(project, *both)
    states.append(everything(project))
    draw(project, in_image("c", "i1"))  # of the image that will go alone: a step that goes too
    project.history.do(
        Edit(
            "finished two",
            {"a": both[0], "b": both[1]},
            {"a": replace(both[0], box=(0, 0, 9, 9)), "b": None},
            {"i0": (False, True), "i1": (False, True)},
        )
    )
    draw(project, in_image("d", "i2"))
    states.append(everything(project))
    draw(project, in_image("e", "i1"), in_image("f", "i2"))
    project.history.undo()
    project.remove_images(["i1"])
    states = [{k: v for k, v in state.items() if k != "i1"} for state in states]

    assert everything(project) == states[2]
    assert project.history.redo() is not None
    assert set(project.cells.rows(["e", "f"])) == {"e", "f"}
    assert project.cells.get("e") is None
    assert project.cells.get("f") == in_image("f", "i2")
    for _ in range(2):
        assert project.history.undo() is not None
    assert project.images["i0"].finished
    assert project.history.undo() is not None
    assert not project.images["i0"].finished
    assert everything(project) == states[1]
    assert project.history.undo() is not None
    assert everything(project) == states[0]
    assert project.history.undo() is None
    for _ in range(4):
        assert project.history.redo() is not None
    assert project.history.redo() is None
    assert project.cells.get("a") == replace(both[0], box=(0, 0, 9, 9))


def test_a_long_run_is_still_one_step_after_an_image_of_it_has_gone(project: Project) -> None:
    cells = [in_image(f"{key}-{k}", key) for key in IMAGES for k in range(300)]
    draw(project, in_image("before", "i0"))
    finish(project.history.do_run("drew", [edit_of("drew", [(None, c)]) for c in cells]))
    project.remove_images(["i1"])
    full = everything(project)
    assert {key: len(rows) for key, rows in full.items()} == {"i0": 301, "i2": 300}
    project.history.undo()
    assert everything(project) == {"i0": {"before": in_image("before", "i0")}, "i2": {}}
    project.history.redo()
    assert everything(project) == full


def test_an_edit_that_comes_after_its_image_has_gone_is_refused(project: Project) -> None:
    project.remove_images(["i1"])
    draw(project, in_image("a", "i0"))
    before = everything(project)
    late = Edit("finished i1", {}, {}, {"i1": (False, True)})
    for edit in (edit_of("drew", [(None, in_image("b", "i1"))]), late):
        with pytest.raises(StaleEditError):
            project.history.do(edit)
    assert everything(project) == before
    assert project.history.undo() is not None


def test_removing_is_all_or_none(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(project, in_image("a", "i0"), in_image("b", "i1"))
    before = everything(project)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(removal, "pack_edit", fail)
    with pytest.raises(ProjectError):
        project.remove_images(["i0"])
    monkeypatch.undo()
    project.cells.forget(IMAGES)
    assert everything(project) == before
    assert project.history.undo() is not None
    assert project.cells.counts() == {}


def test_a_cell_needs_an_image_that_is_there(project: Project) -> None:
    with pytest.raises(StaleEditError):
        draw(project, Cell("a", "i0", (1, 2, 3, 4)), Cell("b", "nowhere", (1, 2, 3, 4)))
    assert project.cells.of_image("i0") == []
    assert project.history.undo_label == ""


def test_image_paths_follow_a_moved_folder(folder: Path, tmp_path: Path) -> None:
    inside, outside = folder.parent / "images" / "i0.tif", tmp_path.parent / "far.tif"
    with Project.open(folder) as project:
        assert project.stored_path(inside) == "images/i0.tif"
        assert project.stored_path(outside) == str(outside.resolve())
        assert project.image_path("i0") == inside.resolve()
        far = replace(image("far"), path=project.stored_path(outside))
        project.add_images([far])
    moved = tmp_path / "elsewhere" / "renamed.cellal"
    moved.parent.mkdir()
    folder.rename(moved)
    with Project.open(moved) as project:
        assert project.image_path("i0") == (moved.parent / "images" / "i0.tif").resolve()
        assert project.image_path("far") == outside.resolve()


def test_settings(folder: Path) -> None:
    changed = ProjectSettings(merge_iou=0.7, detector="m1", seed=3)
    with Project.open(folder) as project:
        assert project.settings == ProjectSettings()
        project.settings = changed
    with Project.open(folder) as project:
        assert project.settings == changed
    with pytest.raises(ValidationError):
        ProjectSettings(merge_iou=0)


def test_models_come_back_oldest_first(folder: Path) -> None:
    first = ModelRecord(
        "m1", "detector", "net", (1, 2), ("RBC", "WBC"), ("a",), parent_id=None, start="coco",
        pixel_size_um=0.5, settings={"steps": 300}, metrics={"map50": 0.9, "per": [1, 2]},
    )  # fmt: skip
    second = replace(first, model_id="m2", parent_id="m1", start="m1")
    with Project.open(folder) as project:
        heard: list[int] = []
        project.models_changed.connect(lambda: heard.append(len(project.models)))
        project.add_model(first)
        project.add_model(second)
        first = replace(first, metrics={"map50": 0.8})
        project.add_model(first)  # measured again; still the older of the two
        assert heard == [1, 2, 2]
    with Project.open(folder) as project:
        assert project.models == [first, second]


# -- impossible boxes -----------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "box",
    [
        (5, 5, 5, 9),
        (5, 5, 9, 5),
        (9, 5, 5, 9),
        (5, 9, 9, 5),
        (NAN, 5, 9, 9),
        (5, 5, 9, NAN),
        (5, 5, INF, 9),
        (-INF, 5, 9, 9),
    ],
)
def test_impossible_boxes_are_refused(project: Project, box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="wrong"):
        draw(project, Cell("fine", "i0", (1, 2, 3, 4)), Cell("wrong", "i0", box))
    assert project.cells.counts() == {}
    assert project.history.undo_label == ""


def test_boxes_over_the_edge_and_tiny_ones_are_possible(project: Project) -> None:
    boxes = [(-5.5, -3, 2, 1), (599, 799, 700, 900), (1e6, 1e6, 1e6 + 1e-6, 1e6 + 1e-6)]
    draw(project, *(Cell(f"c{k}", "i0", box) for k, box in enumerate(boxes)))
    for k, box in enumerate(boxes):
        assert f"c{k}" in [c.cell_id for c in project.cells.in_view("i0", box)]


# -- asking ---------------------------------------------------------------------------------


def touches(cell: Cell, view: tuple[float, ...], slack: float = 0) -> bool:
    y0, x0, y1, x1 = cell.box
    return (
        y1 >= view[0] - slack
        and y0 <= view[2] + slack
        and x1 >= view[1] - slack
        and x0 <= view[3] + slack
    )


def test_in_view_equals_brute_force(project: Project) -> None:
    cells = many(400)
    draw(project, *cells)
    rng = random.Random(5)
    views = [(0.0, 0.0, 600.0, 800.0), (-50.0, -50.0, 0.0, 0.0), cells[7].box]
    for _ in range(100):
        y, x = rng.randrange(2400) / 4, rng.randrange(3200) / 4
        views.append((y, x, y + rng.randrange(800) / 4, x + rng.randrange(800) / 4))
    hits = 0
    for view in views:
        for key in (*IMAGES, "nowhere"):
            expected = [c for c in cells if c.image_id == key and touches(c, view)]
            assert project.cells.in_view(key, view) == expected
            hits += len(expected)
    assert hits > 1000


def test_in_view_follows_moves_and_what_is_taken_back(project: Project) -> None:
    here, there = (10.0, 10.0, 20.0, 20.0), (300.0, 300.0, 310.0, 310.0)
    first = Cell("c", "i0", here)
    moved = replace(first, box=there)
    classed = replace(moved, class_id=1)
    draw(project, first)
    project.history.do(edit_of("moved", [(first, moved)]))
    project.history.do(edit_of("classed", [(moved, classed)]))
    project.history.do(edit_of("went", [(classed, None)]))

    def seen() -> tuple[int, int]:
        return tuple(len(project.cells.in_view("i0", box)) for box in (here, there))

    found = [seen()]
    for _ in range(4):
        project.history.undo()
        found.append(seen())
    assert found == [(0, 0), (0, 1), (0, 1), (1, 0), (0, 0)]


def test_in_view_misses_nothing_between_the_32_bit_numbers(project: Project) -> None:
    rng = random.Random(6)
    cells = []
    for k in range(300):
        y, x = rng.uniform(0, 6e4), rng.uniform(0, 6e4)
        box = (y, x, y + rng.uniform(1, 3e3), x + rng.uniform(1, 3e3))
        cells.append(Cell(f"c{k}", "i0", box))
    draw(project, *cells)
    for c in cells:
        for view in (c.box, (c.box[2], c.box[3], c.box[2] + 500, c.box[3] + 500)):
            found = project.cells.in_view("i0", view)
            assert c in found
            assert {d.cell_id for d in cells if touches(d, view)} <= {d.cell_id for d in found}
            assert all(touches(d, view, slack=0.05) for d in found)


def test_counts_equal_brute_force(project: Project) -> None:
    cells = many(500)
    draw(project, *cells)
    project.history.do(edit_of("deleted", [(c, None) for c in cells[::7]]))
    project.history.do(
        edit_of("confirmed", [(c, replace(c, review=Review.CONFIRMED)) for c in cells[1::7]])
    )
    rows = [c for k, c in enumerate(cells) if k % 7 > 1]
    rows += [replace(c, review=Review.CONFIRMED) for c in cells[1::7]]
    assert project.cells.counts() == Counter((c.status, c.class_id) for c in rows)
    by_image = {
        key: dict(Counter(c.status for c in rows if c.image_id == key)) for key in IMAGES[:2]
    }
    assert project.cells.counts_by_image() == by_image
    for key in IMAGES:
        assert project.cells.counts_of(key) == by_image.get(key, {})
    for wanted in ([Status.PROPOSED], [Status.DRAWN, Status.REJECTED], list(Status)):
        found = project.cells.with_status(*wanted)
        assert {c.cell_id: c for c in found} == {c.cell_id: c for c in rows if c.status in wanted}
        assert len(found) == len({c.cell_id for c in found})
        images = [c.image_id for c in found]
        assert images == sorted(images)
    labels = {c.cell_id for c in rows if c.is_label}
    assert {c.cell_id for c in project.cells.labels()} == labels
    assert labels


def test_an_empty_project_counts_nothing(project: Project) -> None:
    assert project.cells.counts() == {}
    assert project.cells.counts_by_image() == {}
    assert project.cells.with_status() == []
    assert project.cells.labels() == []
    assert project.cells.of_image("nowhere") == []
    assert project.cells.rows([]) == {}
    assert project.cells.finished([]) == {}


def test_thousands_of_ids_in_one_question(project: Project) -> None:
    cells = many(2500)
    draw(project, *cells)
    found = project.cells.rows([*(c.cell_id for c in cells), "nobody"])
    assert found == {**{c.cell_id: c for c in cells}, "nobody": None}
    assert project.history.undo() is not None
    assert project.cells.counts() == {}


def test_a_changed_row_keeps_its_place(project: Project) -> None:
    cells = [Cell(f"c{k}", "i0", (k, 0, k + 5, 5)) for k in range(5)]
    draw(project, *cells)
    moved = replace(cells[2], box=(90, 90, 99, 99))
    project.history.do(edit_of("moved", [(cells[2], moved)]))
    assert project.cells.of_image("i0") == [*cells[:2], moved, *cells[3:]]


def test_a_cell_may_move_to_another_image(project: Project) -> None:
    old = Cell("c", "i0", (1, 2, 3, 4))
    draw(project, old)
    new = replace(old, image_id="i1")
    project.history.do(edit_of("moved", [(old, new)]))
    assert project.cells.in_view("i0", (0, 0, 9, 9)) == []
    assert project.cells.in_view("i1", (0, 0, 9, 9)) == [new]
    project.history.undo()
    assert project.cells.in_view("i0", (0, 0, 9, 9)) == [old]
    assert project.cells.in_view("i1", (0, 0, 9, 9)) == []


# -- classes --------------------------------------------------------------------------------


def shown(project: Project) -> list[tuple[int, str, str]]:
    return [(c.class_id, c.name, c.shortcut) for c in project.active_classes]


def test_classes_are_added_once(project: Project) -> None:
    heard: list[int] = []
    project.classes_changed.connect(lambda: heard.append(len(project.classes)))
    result = project.add_classes(["WBC", " wbc ", "", "Platelets", "platelets", "rbc"])
    assert [c.class_id for c in result] == [2, 2, 3, 3, 1]
    assert shown(project) == [(1, "RBC", "1"), (2, "WBC", "2"), (3, "Platelets", "3")]
    assert heard == [3]
    assert project.add_classes(["RBC"]) == [project.classes[1]]
    assert heard == [3]


def test_class_named(project: Project) -> None:
    found = project.class_named(" rbc ")
    assert found is not None
    assert found.class_id == 1
    assert project.class_named("nobody") is None


def test_rename_and_recolour_keep_the_id(folder: Path) -> None:
    with Project.open(folder) as project:
        draw(project, Cell("c", "i0", (1, 2, 3, 4), class_id=2))
        changed = replace(project.classes[2], name=" White ", color="#ffffff", shortcut="w")
        project.update_class(changed)
    with Project.open(folder) as project:
        assert project.classes[2] == replace(changed, name="White")
        cell = project.cells.get("c")
        assert cell is not None
        assert cell.class_id == 2
        assert [c.class_id for c in project.add_classes(["WBC"])] == [3]  # a new one


@pytest.mark.parametrize(
    "change", [{"name": "rbc"}, {"name": " RBC "}, {"name": "  "}, {"shortcut": "1"}]
)
def test_names_and_keys_are_unique(project: Project, change: dict[str, str]) -> None:
    before = dict(project.classes)
    with pytest.raises(ProjectError):
        project.update_class(replace(project.classes[2], **change))
    assert project.classes == before


def test_a_class_may_change_its_own_case_or_nothing(project: Project) -> None:
    project.update_class(project.classes[1])
    project.update_class(replace(project.classes[1], name="rbc"))
    assert project.classes[1].name == "rbc"


def test_a_new_class_takes_no_others_key(project: Project) -> None:
    project.update_class(replace(project.classes[1], shortcut="3"))
    project.add_classes([f"new {k}" for k in range(12)])
    keys = [c.shortcut for c in project.active_classes if c.shortcut]
    assert len(set(keys)) == len(keys) == 9
    assert project.classes[1].shortcut == "3"
    assert project.classes[2].shortcut == "2"


def test_a_retired_class_comes_back_with_its_id(folder: Path) -> None:
    with Project.open(folder) as project:
        project.update_class(replace(project.classes[1], retired=True))
        assert shown(project) == [(2, "WBC", "2")]
        assert list(project.classes) == [1, 2]
    with Project.open(folder) as project:
        assert project.classes[1].retired
        assert [c.class_id for c in project.add_classes(["Other"])] == [3]  # ids are not reused
        assert [c.class_id for c in project.add_classes(["rbc", "RBC"])] == [1, 1]
    with Project.open(folder) as project:
        assert [c.class_id for c in project.active_classes] == [1, 2, 3]
        keys = [c.shortcut for c in project.active_classes]
        assert len(set(keys)) == 3


def test_a_retired_class_comes_back_without_a_key_that_was_given_away(project: Project) -> None:
    project.update_class(replace(project.classes[1], retired=True))
    project.update_class(replace(project.classes[2], shortcut="1"))
    with pytest.raises(ProjectError):
        project.update_class(replace(project.classes[1], retired=False))
    project.add_classes(["RBC"])
    assert not project.classes[1].retired
    assert project.classes[2].shortcut == "1"
    assert project.classes[1].shortcut != "1"


def test_no_class_takes_the_name_of_a_retired_one(project: Project) -> None:
    project.update_class(replace(project.classes[1], retired=True))
    with pytest.raises(ProjectError, match="RBC"):
        project.update_class(replace(project.classes[2], name="RBC"))
    project.add_classes(["RBC"])
    assert [c.name for c in project.active_classes] == ["RBC", "WBC"]


def test_a_model_written_by_a_killed_training_is_registered_on_opening(tmp_path: Path) -> None:
    card = ModelRecord("m1", "detector", "mobilenet_v2", (1,), ("RBC",), ("gray",))
    with Project.create(tmp_path / "p", ["RBC"]) as project:
        folder = project.model_folder("m1")
        folder.mkdir()
        (folder / "card.json").write_bytes(TypeAdapter(ModelRecord).dump_json(card))
        half = folder.with_name(".m2.partial")
        half.mkdir()
        mine = folder.with_name("notes")
        mine.mkdir()
        path = project.folder
    with Project.open(path) as project:
        assert [m.model_id for m in project.models] == ["m1"]
        assert not half.exists()
        assert mine.exists()


# -- crowded images -------------------------------------------------------------------------


def scattered(project: Project, n: int) -> list[Cell]:
    rng = random.Random(0)
    places = [(float(rng.randrange(60)), float(rng.randrange(60))) for _ in range(n)]  # with ties
    cells = [Cell(f"s{k}", "i0", (y, x, y + 5, x + 5)) for k, (y, x) in enumerate(places)]
    project.history.do(edit_of("put", [(None, c) for c in cells]))
    return cells


def test_stepping_visits_every_wanted_cell_once_from_top_to_bottom(project: Project) -> None:
    cells = scattered(project, 50)
    wanted = [c for c in cells if c.box[1] > 10]
    order, current = [], None
    for _ in wanted:
        current = project.cells.step("i0", current, 1, lambda c: c.box[1] > 10)
        order.append(current)
    assert {c.cell_id for c in order} == {c.cell_id for c in wanted}
    assert [c.box[:2] for c in order] == sorted(c.box[:2] for c in wanted)
    assert project.cells.step("i0", order[-1], 1, lambda c: c.box[1] > 10) == order[0]
    for since, before in zip(order, [order[-1], *order], strict=False):
        assert project.cells.step("i0", since, -1, lambda c: c.box[1] > 10) == before


def test_stepping_where_nothing_is_wanted(project: Project) -> None:
    (cell, *_) = scattered(project, 3)
    assert project.cells.step("i0", cell, 1, lambda _c: False) is None
    assert project.cells.step("i1", None, 1, lambda _c: True) is None


def test_density_counts_every_cell_that_is_not_rejected(project: Project) -> None:
    cells = scattered(project, 40)
    gone = [replace(c, review=Review.REJECTED) for c in cells[:5]]
    project.history.do(edit_of("no", list(zip(cells, gone, strict=False))))
    found = {(r, c): n for r, c, n in density(project.folder, "i0", 8.0)}
    counted: dict[tuple[int, int], int] = {}
    for c in cells[5:]:
        key = (int((c.box[0] + 2.5) // 8), int((c.box[1] + 2.5) // 8))
        counted[key] = counted.get(key, 0) + 1
    assert found == counted


def test_in_view_returns_so_many_at_most(project: Project) -> None:
    scattered(project, 30)
    everything = (-9, -9, 99, 99)
    assert len(project.cells.in_view("i0", everything, 7)) == 7
    assert len(project.cells.in_view("i0", everything)) == 30


def test_an_image_is_crowded_above_the_limit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cellal.io.store.cells.CROWDED", 10)
    scattered(project, 10)
    assert not project.cells.is_crowded("i0")
    project.history.do(edit_of("one more", [(None, Cell("more", "i0", (0, 0, 5, 5)))]))
    assert project.cells.is_crowded("i0")
    assert not project.cells.is_crowded("i1")
