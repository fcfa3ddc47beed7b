"""Tables of images, wells and cells: the database's sums against a plain loop over the rows."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from napari_cellal.core.errors import CellalError, ProjectError
from napari_cellal.core.history import edit_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell, ImageRecord, Origin, Proposal, Review, Status
from napari_cellal.features.table import FeatureTable
from napari_cellal.io.store import Project
from napari_cellal.io.store.totals import CellTotals, cell_totals, counted_cells
from napari_cellal.workflows import comparing, plate_page, summarizing

WELLS = ("A1", "B2", "B10", "a1", "H12", "")


def some_cells(rng):
    cells = []
    for k in range(240):
        size = float(rng.integers(4, 30))
        box = (float(k), 0.0, k + size, 8.0)
        class_id = (None, 1, 2)[rng.integers(3)]
        origin = tuple(Origin)[rng.integers(3)]
        proposed = None
        if origin is Origin.MODEL:
            proposed = Proposal(box, class_id, float(rng.random()), "m")
        review = tuple(Review)[rng.integers(4)] if origin is not Origin.PERSON else Review.CONFIRMED
        image = f"i{rng.integers(0, 11)}"  # i11 has none
        cells.append(Cell(f"c{k:03}", image, box, class_id, origin, review, proposed))
    return cells


@pytest.fixture
def project(tmp_path):
    with Project.create(tmp_path / "p", ["A", "B"]) as made:
        records = []
        for k in range(12):
            well = WELLS[k % 6]
            place = {"plate": "P1" if k < 9 else "P2", "well": well, "site": str(k)} if well else {}
            records.append(
                ImageRecord(f"i{k}", f"{k}.tif", (1, 99, 99), "uint8", ("g",), place=place)
            )
        made.add_images(records)
        cells = some_cells(np.random.default_rng(0))
        made.history.do(edit_of("filled", [(None, c) for c in cells]))
        yield made


def counted(project, min_score=0.0):
    for key in project.images:
        for c in project.cells.of_image(key):
            low = c.status is Status.PROPOSED and c.score is not None and c.score < min_score
            if c.status is not Status.REJECTED and not low:
                yield c


def plain_totals(cells):
    found = CellTotals()
    for c in cells:
        waits = c.status in (Status.PROPOSED, Status.IMPORTED)
        y0, x0, y1, x1 = c.box
        found += CellTotals(
            {c.class_id: 1},
            int(waits),
            (y1 - y0) * (x1 - x0),
            c.score or 0.0,
            int(c.score is not None),
        )
    return found


def summary_of(project, **how):
    totals = cell_totals(project.folder, how.pop("min_score", 0.0))
    return summarizing.summarize(project.images.values(), project.active_classes, totals, **how)


def same(a, b):
    assert dict(a.by_class) == dict(b.by_class)
    assert (a.waiting, a.scored, a.cells) == (b.waiting, b.scored, b.cells)
    assert a.area_px2 == pytest.approx(b.area_px2)
    assert a.score == pytest.approx(b.score)


@pytest.mark.parametrize("min_score", [0.0, 0.6])
def test_totals_are_those_of_a_plain_loop(project, min_score):
    found = cell_totals(project.folder, min_score)
    assert "i11" not in found
    cells = list(counted(project, min_score))
    for key, totals in found.items():
        same(totals, plain_totals(c for c in cells if c.image_id == key))
    assert sum(t.cells for t in found.values()) == len(cells) > 100
    some = cell_totals(project.folder, min_score, ["i1", "i11"])
    assert list(some) == ["i1"]
    same(some["i1"], found["i1"])
    assert sorted(counted_cells(project.folder, min_score)) == sorted(
        (c.cell_id, c.image_id) for c in cells
    )


def test_one_line_a_well(project):
    found = summary_of(project)
    assert [line.about for line in found.lines] == [
        ("P1", "A01"), ("P1", "B02"), ("P1", "B10"), ("P1", "H12"),
        ("P2", "A01"), ("P2", "H12"),
    ]  # fmt: skip
    assert found.left_out == 2
    assert found.plates == ("P1", "P2")
    cells = list(counted(project))
    for line in found.lines:
        mine = [c for c in cells if c.image_id in line.image_ids]
        values = dict(zip((c.name for c in found.columns), line.values, strict=True))
        assert values["images"] == len(line.image_ids)
        assert values["cells"] == len(mine)
        of = [sum(c.class_id == k for c in mine) for k in (1, 2, None)]
        assert [values["cells_A"], values["cells_B"], values["unclassed"]] == of
        assert values["per_image"] == pytest.approx(len(mine) / len(line.image_ids))
        if of[0] + of[1]:
            assert values["share_B"] == pytest.approx(of[1] / (of[0] + of[1]))
        else:
            assert values["share_B"] is None
        scores = [c.score for c in mine if c.score is not None]
        assert values["mean_score"] == (pytest.approx(np.mean(scores)) if scores else None)
    (last,) = [line for line in found.lines if "i11" in line.image_ids or line.values[1]] or [None]
    assert last is None  # i11 is in no well


def test_one_line_an_image(project):
    found = summary_of(project, per="image")
    assert len(found.lines) == 12
    at = found.column("cells")
    by_name = {line.about[0]: line for line in found.lines}
    assert by_name["11.tif"].values[at] == 0
    assert by_name["11.tif"].values[found.column("empty_images")] == 1
    assert by_name["11.tif"].values[found.column("mean_score")] is None
    assert by_name["3.tif"].about == ("3.tif", "P1", "A01", "3", "train")
    order = [line.about[1:4] for line in found.lines]
    assert order.index(("P1", "B02", "1")) < order.index(("P1", "B10", "2"))


def test_means_of_measurements(project, tmp_path):
    cells = [c for c in counted(project) if c.image_id != "i2"]
    values = np.random.default_rng(1).random((len(cells) + 1, 2)).astype(np.float32)
    table = FeatureTable((*(c.cell_id for c in cells), "gone"), ("a", "b"), values)
    table.save(tmp_path / "t.npz")
    means = run_job(summarizing.measured_means(project.folder, str(tmp_path / "t.npz")))
    found = summary_of(project, means=means)
    for line in found.lines:
        mine = [k for k, c in enumerate(cells) if c.image_id in line.image_ids]
        at = found.column("measured")
        assert line.values[at] == len(mine)
        if mine:
            assert line.values[at + 1 :] == pytest.approx(values[mine].mean(axis=0))
        else:
            assert line.values[at + 1 :] == (None, None)
    FeatureTable((), (), np.zeros((0, 0), np.float32)).save(tmp_path / "t.npz")
    none = run_job(summarizing.measured_means(project.folder, str(tmp_path / "t.npz")))
    assert none.names == ()
    with pytest.raises(ProjectError):
        run_job(summarizing.measured_means(project.folder, str(tmp_path / "none.npz")))


def test_wells_that_stand_out():
    columns = (summarizing.Column("cells", "cells", "", "count"),)
    values = [10, 11, 9, 10, 12, 11, 9, 10, 60, None]
    lines = tuple(
        summarizing.Line(("P", f"A{k + 1:02}"), (v,)) for k, v in enumerate(values)
    ) + tuple(summarizing.Line(("Q", f"A{k + 1:02}"), (60,)) for k in range(8))
    found = summarizing.Summary("well", ("plate", "well"), columns, lines)
    (odd,) = summarizing.outliers(found, ["cells"])
    assert (odd.plate, odd.well, odd.column, odd.value) == ("P", "A09", "cells", 60)
    assert odd.z > 3.5  # on its own plate; on Q 60 is what is usual


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_come_back_as_they_were(project, tmp_path, suffix):
    parquet = pytest.importorskip("pyarrow.parquet")
    for per in ("image", "well"):
        found = summary_of(project, per=per)
        out = tmp_path / f"{per}{suffix}"
        assert run_job(summarizing.write_summary(found, out)) == len(found.lines)
        if suffix == ".csv":
            back = comparing.read_summary(out, per)
            assert [line.about for line in back.lines] == [line.about for line in found.lines]
            assert [c.name for c in back.columns] == [c.name for c in found.columns]
            for line, other in zip(back.lines, found.lines, strict=True):
                assert line.values == pytest.approx(other.values)
        else:
            columns = parquet.read_table(out).to_pydict()
            at = found.column("mean_score")
            assert columns["mean_score"] == [line.values[at] for line in found.lines]
            assert columns["well"] == [
                line.about[found.about.index("well")] or None for line in found.lines
            ]


@pytest.mark.parametrize("min_score", [0.0, 0.6])
def test_one_line_a_cell(project, tmp_path, min_score):
    out = tmp_path / "cells.csv"
    cells = list(counted(project, min_score))
    assert run_job(summarizing.write_cells(project, out, min_score)) == len(cells)
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["cell_id"] for r in rows] == [c.cell_id for c in cells]
    names = {None: "", 1: "A", 2: "B"}
    for row, cell in zip(rows, cells, strict=True):
        place = project.images[cell.image_id].place
        assert row["plate"] == place.get("plate", "")
        assert row["site"] == place.get("site", "")
        assert row["class"] == names[cell.class_id]
        assert float(row["y1"]) == cell.box[2]


def test_a_table_that_is_left_early_is_not_there(project, tmp_path):
    out = tmp_path / "cells.csv"
    out.write_text("before")
    job = summarizing.write_cells(project, out)
    next(job)
    next(job)
    job.close()
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["cells.csv"]
    assert out.read_text() == "before"


def test_what_two_summaries_differ_by(project):
    before = summary_of(project)
    cells = project.cells.of_image("i1")
    kept = [c for c in cells if c.status is not Status.REJECTED]
    project.history.do(edit_of("gone", [(c, None) for c in kept]))
    now = summary_of(project)
    found, notes = comparing.compare(now, before)
    assert notes == []
    at = found.column("cells")
    for line, old, new in zip(found.lines, before.lines, now.lines, strict=True):
        k = now.column("cells")
        change = new.values[k] - old.values[k]
        assert line.values[at : at + 3] == (new.values[k], old.values[k], change)
    ((line, was, is_now),) = comparing.changes(found, "cells")
    assert line.about == ("P1", "B02")
    assert was - is_now == len(kept) > 0


def test_wells_of_one_side_only_are_told_of(project):
    now = summary_of(project)
    lines = (*now.lines[1:], summarizing.Line(("P9", "A01"), now.lines[0].values))
    before = summarizing.Summary("well", now.about, now.columns[:-1], lines)
    found, notes = comparing.compare(now, before)
    assert len(found.lines) == len(now.lines) - 1
    assert len(notes) == 3
    assert found.column("mean_box_area_change") < 0


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "plate,well,cells\nP,A1\n", "plate,well,n\nP,A1,x\n"]
)
def test_files_that_are_no_summaries(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CellalError, match=r"t\.csv"):
        comparing.read_summary(tmp_path / "t.csv", "well")
    (tmp_path / "t.csv").write_bytes(b"plate,well\n\xff\xfe,\n")
    with pytest.raises(CellalError, match=r"t\.csv"):
        comparing.read_summary(tmp_path / "t.csv", "well")
    with pytest.raises(CellalError, match="none"):
        comparing.read_summary(tmp_path / "none.csv", "well")


def test_a_page_of_plates(project, tmp_path):
    from defusedxml import ElementTree

    found = summary_of(project)
    out = tmp_path / "p.html"
    run_job(plate_page.write_page(found, out, "<b>&", ["cells", "share_A"]))
    text = out.read_text()
    assert "<b>&" not in text
    tree = ElementTree.fromstring(text.split("\n", 1)[1])  # well-formed
    titles = [t.text for t in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 2 * len(found.lines)
    at = found.column("cells")
    for line in found.lines:
        assert f"{line.about[1]}: {line.values[at]}" in titles
    changed, _ = comparing.compare(found, found)
    run_job(plate_page.write_page(changed, out, "c", ["cells"], is_change=True))
    assert "A01: 0" in out.read_text()


def test_what_a_scan_did_not_search_is_no_empty_image(project, tmp_path):
    empty = next(key for key in project.images if key not in cell_totals(project.folder))
    place = {"plate": "P9", "well": "A1"}
    project.add_images(
        ImageRecord(f"n{k}", f"n{k}.tif", (1, 9, 9), "uint8", ("g",), place=place) for k in (1, 2)
    )
    assert project.scans.not_searched() == {}
    scan = project.scans.begin({}, [["n1"], ["n2"], [empty], ["i1"]])
    with project.scans.together():
        project.scans.note_done(scan, {empty: 0, "i1": 3})
        project.scans.note_failed(scan, "n1", "n1.tif is broken.")
    missing = project.scans.not_searched()
    assert missing == {"n1": "n1.tif is broken.", "n2": ""}
    again = project.scans.begin({}, [["n1"], ["n2"], [empty], ["i1"]])
    assert project.scans.not_searched() == {
        "n1": "",
        "n2": "",
    }  # the first scan searched the others
    project.scans.forget(again)
    found = summary_of(project, not_searched=missing)
    (line,) = found.of_plate("P9")
    values = dict(zip((c.name for c in found.columns), line.values, strict=True))
    assert (values["images"], values["not_searched"], values["empty_images"]) == (2, 2, 0)
    assert values["cells"] is None
    found = summary_of(project, not_searched=["n1"])
    (line,) = found.of_plate("P9")
    values = dict(zip((c.name for c in found.columns), line.values, strict=True))
    assert (values["not_searched"], values["empty_images"], values["cells"]) == (1, 1, 0)
    assert values["per_image"] == 0
    job = plate_page.write_page(
        found, tmp_path / "p.html", "p", ["cells"], failures=[("n1.tif", "broken"), ("n2.tif", "")]
    )
    run_job(job)
    assert "n2.tif" in (tmp_path / "p.html").read_text()
