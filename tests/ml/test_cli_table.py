"""`table` on the command line: its keys, its files, and what changed since an earlier one."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli_things import check

from napari_cellal.cli import main
from napari_cellal.io.store import Project

if TYPE_CHECKING:
    from cli_things import Run

TABLE = {
    "per": str,
    "lines": int,
    "file": str,
    "columns": list,
    "left_out": int,
    "not_searched": int,
    "notes": list,
}


@pytest.fixture(scope="session")
def without_wells(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six smears with the classical detector's proposals."""
    folder = tmp_path_factory.mktemp("tables") / "t.cellal"
    assert main(["new", str(folder), "--classes", "RBC,WBC,Platelets"]) == 0
    assert main(["add", str(folder), str(smears)]) == 0
    assert main(["detect", str(folder), "--model", "classical"]) == 0
    return folder


@pytest.fixture
def plate(without_wells: Path, tmp_path: Path) -> Path:
    """The same, its images spread over the wells of two plates."""
    folder = Path(shutil.copytree(without_wells, tmp_path / "plate.cellal"))
    with Project.open(folder) as opened:
        wells = [("P", "B2"), ("P", "B02"), ("P", "C10"), ("Q", "A1"), ("Q", "A2"), ("", "")]
        changed = [
            replace(record, place={"plate": plate, "well": well} if well else {})
            for record, (plate, well) in zip(opened.images.values(), wells, strict=True)
        ]
        opened.replace_images(changed)
    return folder


def test_tables_of_wells_images_and_cells(
    run: Run, fails: Run, plate: Path, without_wells: Path, tmp_path: Path
) -> None:
    found = check(run("table", plate), {**TABLE, "outliers": list})
    assert (found["per"], found["lines"], found["left_out"]) == ("well", 4, 1)
    with Path(found["file"]).open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["plate"], r["well"], r["images"]) for r in rows] == [
        ("P", "B02", "2"), ("P", "C10", "1"), ("Q", "A01", "1"), ("Q", "A02", "1"),
    ]  # fmt: skip
    images = check(run("table", plate, "--per", "image", "-o", tmp_path / "i.csv"), TABLE)
    cells = run("table", plate, "--per", "cell", "-o", tmp_path / "c.csv")
    check(cells, {"per": str, "lines": int, "file": str})
    with (tmp_path / "i.csv").open() as file:
        assert sum(int(r["cells"]) for r in csv.DictReader(file)) == cells["lines"] > 50
    assert images["lines"] == 6
    means = run("table", plate, "--features", "quick", "-o", tmp_path / "m.csv")
    assert "mean_area" in means["columns"] or len(means["columns"]) > len(found["columns"]) + 50
    few = run("table", plate, "--per", "cell", "--score", 0.8, "-o", tmp_path / "c.csv")
    assert few["lines"] < cells["lines"]
    assert "well" in fails("table", without_wells)  # its images are in none
    assert "nothing" in fails("table", plate, "--columns", "nothing")
    fails("table", plate, "--per", "cell", "--features", "quick")
    fails("table", plate, "--per", "image", "-o", tmp_path / "i.html")
    assert "t.xls" in fails("table", plate, "-o", tmp_path / "t.xls")


def test_what_changed_since_a_table_was_written(
    run: Run, fails: Run, plate: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before.csv"
    run("table", plate, "-o", before)
    earlier = Path(shutil.copytree(plate, tmp_path / "earlier.cellal"))
    with Project.open(plate) as opened:
        key = next(iter(opened.images))
        gone = [c.cell_id for c in opened.cells.of_image(key)][:3]
    run("review", plate, "reject", *gone)
    keys = {**TABLE, "outliers": list, "changes": list}
    now = check(run("table", plate, "--against", before, "-o", tmp_path / "c.csv"), keys)
    (change,) = now["changes"]
    assert (change["plate"], change["well"]) == ("P", "B02")
    assert change["before"] - change["now"] == 3
    other = run("table", plate, "--against", earlier, "-o", tmp_path / "d.csv")
    assert (tmp_path / "d.csv").read_text() == (tmp_path / "c.csv").read_text()
    assert other["notes"] == []
    page = run("table", plate, "--against", before, "-o", tmp_path / "c.html", "--columns", "cells")
    assert "B02: -3" in Path(page["file"]).read_text()
    assert "c.html" in fails("table", plate, "--against", tmp_path / "c.html")
