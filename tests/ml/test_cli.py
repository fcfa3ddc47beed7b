"""The command line as an interface: JSON keys, exit codes, one line for every error."""

from __future__ import annotations

import argparse
import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cli_things import check

from napari_cellal.cli import main, running
from napari_cellal.core.progress import EndEarly, Progress
from napari_cellal.core.records import Split
from napari_cellal.io.store import Project
from napari_cellal.workflows import detecting

if TYPE_CHECKING:
    from cli_things import Run

    from napari_cellal.core.progress import Job

FIGURES = {
    "model": str,
    "images": int,
    "cells": int,
    "score": float,
    "map50": (float, type(None)),
    "map5095": (float, type(None)),
    "interval": (list, type(None)),
    "per_class": dict,
    "any_class": dict,
    "confusion": dict,
}
EVALUATION = {**FIGURES, "failures": list}
CLASS_KEYS = {"ap50", "ap5095", "precision", "recall", "f1", "support"}
DETECTION = {
    "images": int,
    "cells": int,
    "new": int,
    "moved": int,
    "shifted": int,
    "reclassed": int,
    "kept": int,
    "lost": int,
    "seconds": (int, float),
    "device": str,
    "model": str,
    "warnings": list,
    "failures": list,
}


IMPORT = {
    "dry_run": bool,
    "files": int,
    "matched": int,
    "images": int,
    "boxes": int,
    "repeated": int,
    "confirmed": int,
    "masked": int,
    "kept": int,
    "finished": int,
    "clipped": int,
    "outside": int,
    "classes": list,
    "classes_added": list,
    "unmatched": list,
    "columns": dict,
    "problem_counts": dict,
    "problems": list,
}


@pytest.fixture(scope="session")
def template(smears: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with images, official splits and the classical detector's proposals."""
    folder = tmp_path_factory.mktemp("cli") / "t.cellal"
    lists = [f"{s}={smears / 'ImageSets' / 'Main' / s}.txt" for s in Split]
    assert main(["new", str(folder), "--classes", "RBC,WBC,Platelets"]) == 0
    assert main(["add", str(folder), str(smears), "--split", *lists]) == 0
    assert main(["models", str(folder), "--use", "classical"]) == 0
    assert main(["detect", str(folder)]) == 0
    return folder


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """A copy of that project to play with."""
    return Path(shutil.copytree(template, tmp_path / "p.cellal"))


@pytest.fixture
def confirmed(tmp_path: Path, smears: Path) -> Path:
    """A project whose every cell is confirmed, and nothing else."""
    project = tmp_path / "confirmed.cellal"
    lists = [f"{s}={smears / 'ImageSets' / 'Main' / s}.txt" for s in Split]
    assert main(["new", str(project), "--classes", "RBC,WBC,Platelets"]) == 0
    assert main(["add", str(project), str(smears), "--split", *lists]) == 0
    assert main(["import", str(project), str(smears), "--confirm", "--finished"]) == 0
    return project


def cells_of(project: Path) -> list[str]:
    with Project.open(project) as opened:
        return [c.cell_id for key in opened.images for c in opened.cells.of_image(key)]


# -- the main path ----------------------------------------------------------------------------


def test_images_are_removed_by_name_and_pattern(
    run: Run, fails: Run, confirmed: Path, smears: Path
) -> None:
    files = {p: p.read_bytes() for p in smears.rglob("*.*")}
    keys = {"removed": int, "cells": int, "reviewed": int, "images": list}
    with Project.open(confirmed) as opened:
        records = list(opened.images.values())
        first = opened.cells.counts_of(records[0].image_id)
        cells = sum(first.values())
    name, other = records[0].name, records[1].name
    fails("remove", confirmed, name)  # a person's work
    fails("remove", confirmed, other, "nothing_like_*", "--with-reviewed")
    assert run("info", confirmed)["images"] == 6
    done = check(run("remove", confirmed, name, "--with-reviewed"), keys)
    assert done == {"removed": 1, "cells": cells, "reviewed": cells, "images": [name]}
    left = run("info", confirmed)
    assert left["images"] == 5
    assert run("remove", confirmed, "*", "--with-reviewed")["removed"] == 5
    assert run("info", confirmed)["cells"] == 0
    assert {p: p.read_bytes() for p in smears.rglob("*.*")} == files


def test_a_replaced_image_is_left_alone_until_it_is_accepted(
    run: Run, fails: Run, smears: Path, tmp_path: Path
) -> None:
    here = shutil.copytree(smears, tmp_path / "here")
    p = tmp_path / "p.cellal"
    run("new", p, "--classes", "RBC,WBC,Platelets")
    run("add", p, here)
    run("import", p, here, "--confirm", "--finished")
    keys = {"images": int, "changed": list, "accepted": int, "problems": list}
    assert check(run("refresh", p), keys)["changed"] == []
    one, other = here / "smear_001.png", here / "smear_002.png"
    shutil.copyfile(other, one)  # of the same size and kind
    (here / "smear_003.png").unlink()
    found = run("refresh", p)
    assert (found["images"], found["changed"], found["accepted"]) == (6, [one.name], 0)
    assert len(found["problems"]) == 1

    def failed(command: str, *options: str) -> list[str]:
        return [s for s in run(command, p, *options)["failures"] if one.name in s]

    assert len(failed("detect", "--images", "*_00[12]*")) == 1
    assert len(failed("measure")) == 1
    assert len(failed("evaluate", "--model", "classical", "--split", "train")) == 1
    assert run("refresh", p, "--accept")["accepted"] == 1
    assert failed("detect", "--images", one.name) == []
    assert failed("measure") == []
    assert run("refresh", p)["changed"] == []


def test_images_are_given_another_split(run: Run, fails: Run, project: Path) -> None:
    keys = {"changed": int, "with_group": int, "by_split": dict}
    before = run("info", project)["by_split"]
    done = check(run("split", project, "test", "smear_00[123]*"), keys)
    assert done["with_group"] == 0
    assert done["by_split"]["test"] == before["test"] + done["changed"]
    assert run("info", project)["by_split"] == done["by_split"]
    fails("split", project, "test", "nothing")
    assert run("split", project, "train", "*")["by_split"] == {"train": 6, "val": 0, "test": 0}
    assert run("split", project, "test", "smear_001")["changed"] == 1  # as lists of splits name it


def test_lists_do_not_change_the_split_of_images_that_are_there_and_say_so(
    run: Run, project: Path, smears: Path, tmp_path: Path
) -> None:
    before = run("info", project)["by_split"]
    (tmp_path / "all.txt").write_text("smear_001\nsmear_002\nsmear_003\n", encoding="utf-8")
    again = run("add", project, smears, "--split", f"test={tmp_path / 'all.txt'}")
    assert (again["added"], len(again["problems"])) == (0, 1)
    assert run("info", project)["by_split"] == before
    main_lists = [f"{s}={smears / 'ImageSets' / 'Main' / s}.txt" for s in Split]
    assert run("add", project, smears, "--split", *main_lists)["problems"] == []


def test_every_image_is_named_on_request(run: Run, confirmed: Path) -> None:
    assert "image_list" not in run("info", confirmed)
    told = run("info", confirmed, "--images")
    keys = {
        "name": str,
        "split": str,
        "finished": bool,
        "cells": int,
        "shape": list,
        "channels": list,
    }
    named = [check(item, keys) for item in told["image_list"]]
    assert sum(item["cells"] for item in named) == told["cells"] > 0
    with Project.open(confirmed) as opened:
        assert [item["name"] for item in named] == [r.name for r in opened.images.values()]


def test_a_project_may_be_named_without_its_suffix(run: Run, fails: Run, tmp_path: Path) -> None:
    run("new", tmp_path / "cells", "--classes", "RBC", "--classes", "WBC,RBC")
    assert run("info", tmp_path / "cells")["classes"] == ["RBC", "WBC"]
    (tmp_path / "cells").mkdir()  # of pictures, say
    assert run("info", tmp_path / "cells")["images"] == 0
    (tmp_path / "one.png").touch()
    assert "one.png" in fails("info", tmp_path / "one.png")


def test_proposals_alone_need_no_second_word(run: Run, project: Path) -> None:
    with Project.open(project) as opened:
        record = next(iter(opened.images.values()))
    done = run("remove", project, record.path)
    assert (done["removed"], done["reviewed"]) == (1, 0)
    assert done["cells"] > 0


def test_the_whole_path(run: Run, smears: Path, tmp_path: Path) -> None:
    p = tmp_path / "cells"
    new = check(run("new", p, "--classes", "RBC, WBC"), {"project": str, "classes": list})
    assert new["classes"] == ["RBC", "WBC"]
    p = Path(new["project"])
    assert p.suffix == ".cellal"

    lists = [f"{s}={smears / 'ImageSets' / 'Main' / s}.txt" for s in Split]
    adding = {"added": int, "known": int, "found": int, "problems": list, "notes": list}
    assert check(run("add", p, smears, "--split", *lists), adding)["added"] == 6
    assert run("add", p, smears)["known"] == 6

    imported = check(run("import", p, smears, "--confirm", "--finished"), IMPORT)
    assert imported["classes_added"] == ["Platelets"]
    boxes = imported["boxes"]
    assert run("import", p, smears, "--confirm")["repeated"] == boxes

    info = check(
        run("info", p),
        {
            "project": str,
            "classes": list,
            "images": int,
            "finished": int,
            "cells": int,
            "by_class": dict,
            "by_status": dict,
            "by_split": dict,
            "detector": str,
            "models": list,
        },
    )
    assert (info["images"], info["finished"], info["cells"]) == (6, 6, boxes)
    assert info["by_split"] == {"train": 4, "val": 1, "test": 1}
    assert info["by_status"] == {"confirmed": boxes}
    assert sum(info["by_class"].values()) == boxes
    assert info["detector"] == "shipped"

    found = check(run("detect", p, "--images", "smear_*", "--model", "classical"), DETECTION)
    assert (found["images"], found["model"], found["device"]) == (6, "classical", "cpu")
    assert found["kept"] > 0.7 * boxes
    assert run("info", p)["by_status"]["confirmed"] == boxes

    measuring = {"cells": int, "features": int, "file": str, "failures": list}
    measured = check(run("measure", p), measuring)
    with Path(measured["file"]).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert len(rows) == measured["cells"] + 1
    assert len(rows[0]) >= measured["features"]

    asked = check(
        run("suggest", p, "-n", 2),
        {
            "suggestions": list,
            "labels": int,
            "remaining": int,
            "holdout": (dict, type(None)),
            "by_class": dict,
            "random_control": type(None),
            "mislabels": type(None),
        },
    )
    assert set(asked["holdout"]) == {
        "cells", "accuracy", "low", "high", "macro_f1", "macro_low", "macro_high", "reliability",
    }  # fmt: skip
    assert set(asked["by_class"]["RBC"]) == {"labels", "needs"}
    more = run("suggest", p, "--check-labels", "--control", "--strategy", "rare", "--like", "WBC")
    assert all(set(x) == {"labels", "accuracy", "macro_f1"} for x in more["random_control"])
    assert isinstance(more["mislabels"], list)
    first = asked["suggestions"][0]
    check(first, {"cell": str, "image": str, "box": list, "reason": str, "probabilities": dict})
    assert set(first["probabilities"]) == {"RBC", "WBC", "Platelets"}

    labels = asked["labels"]
    labelled = check(
        run("label", p, first["cell"], "rbc"), {"cell": str, "class": str, "labels": int}
    )
    assert (labelled["class"], labelled["labels"]) == ("RBC", boxes + 1)
    assert run("suggest", p)["labels"] == labels + 1

    reviewing = {"action": str, "cells": int}
    second = asked["suggestions"][1]["cell"]
    assert check(run("review", p, "reject", second), reviewing)["cells"] == 1
    assert run("review", p, "reject", second)["cells"] == 0
    assert run("review", p, "reopen", second, first["cell"])["cells"] == 2
    assert run("review", p, "unsure", second)["cells"] == 1
    assert run("review", p, "accept", second)["cells"] == 1

    replay = check(
        run("simulate", p, "--strategies", "margin,random", "--seeds", 2, "--steps", 8),
        {
            "metric": str,
            "curves": dict,
            "labels_to": dict,
            "worst_labels_to": dict,
            "reached": dict,
            "reliability": dict,
            "seeds": int,
            "pool": int,
            "holdout": int,
        },
    )
    assert set(replay["curves"]) == {"margin", "random"}
    assert set(replay["curves"]["margin"][0]) == {"labels", "mean", "low", "high"}
    assert len(replay["curves"]["margin"]) == 9
    assert set(replay["labels_to"]) == {"0.8", "0.9", "0.95", "0.99"}
    assert set(replay["labels_to"]["0.9"]) == {"margin", "random"}

    figures = check(run("evaluate", p, "--score", 0), EVALUATION)
    assert figures["images"] == 1
    assert set(figures["per_class"]) == {"RBC", "WBC", "Platelets"}
    assert set(figures["per_class"]["RBC"]) == CLASS_KEYS
    assert set(figures["any_class"]) == {"ap50", "precision", "recall", "f1"}
    assert figures["any_class"]["recall"] > 0.7
    assert set(figures["confusion"]) == {"classes", "counts"}
    assert len(figures["confusion"]["counts"]) == 4

    exporting = {
        "files": int,
        "images": int,
        "boxes": int,
        "folder": str,
        "lost": list,
        "problems": list,
    }
    out = check(run("export", p, tmp_path / "out", "--reviewed-only"), exporting)
    assert out["files"] == out["images"] == 6
    assert out["boxes"] == run("info", p)["by_status"]["confirmed"]


def test_a_real_process_keeps_stdout_for_the_result(smears: Path, tmp_path: Path) -> None:
    def cellal(*argv: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "napari_cellal", *map(str, argv)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
        )

    assert cellal("new", "p", "--classes", "RBC").returncode == 0
    assert cellal("add", "p.cellal", smears / "smear_001.png").returncode == 0
    done = cellal("detect", "p.cellal", "--json")
    assert done.returncode == 0
    check(json.loads(done.stdout), DETECTION)
    wrong = cellal("info", "nowhere.cellal", "--json")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert len(wrong.stderr.splitlines()) == 1
    assert cellal("conjure").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_a_result_that_nobody_takes(project: Path) -> None:
    def said(stdout: Any) -> str:
        command = [sys.executable, "-m", "napari_cellal", "info", str(project)]
        done = subprocess.run(
            command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
        assert done.returncode == 1
        return done.stderr

    with Path("/dev/full").open("w") as full:
        assert len(said(full).splitlines()) == 1
    read, write = os.pipe()
    os.close(read)
    try:
        assert said(write) == ""
    finally:
        os.close(write)


def test_the_window_is_not_needed(tmp_path: Path) -> None:
    """`new` and `info` load neither Qt, napari nor torch."""
    script = (
        "import sys; from napari_cellal.cli import main\n"
        "assert main(['new', 'p', '--classes', 'A']) == 0 == main(['info', 'p.cellal'])\n"
        "print([m for m in ('qtpy', 'napari', 'torch', 'sklearn', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_without_json_the_result_is_lines_for_a_person(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(project)]) == 0
    out = capsys.readouterr().out
    with pytest.raises(json.JSONDecodeError):
        json.loads(out)
    assert "classical" in out


def test_numbers_stand_beside_each_other(
    confirmed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(confirmed), "--split", "val"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  classes: RBC, WBC, Platelets" in lines
    start = lines.index("  counts:")
    rows = [line.strip().removeprefix("- ").split(", ") for line in lines[start + 1 : start + 5]]
    assert [len(row) for row in rows] == [4] * 4
    assert all(cell.isdigit() for row in rows for cell in row)


# -- detect -----------------------------------------------------------------------------------


def test_a_model_is_taken_into_use_and_back(run: Run, project: Path) -> None:
    listed = check(run("models", project), {"detector": str, "models": list})
    used = {m["model"]: m["in_use"] for m in listed["models"]}
    assert used == {"shipped": False, "classical": True}
    assert run("models", project, "--use", "shipped")["detector"] == "shipped"
    assert run("info", project)["detector"] == "shipped"
    run("models", project, "--use", "classical")
    assert run("models", project, "--use", "auto")["detector"] == "shipped"
    assert run("models", project)["detector"] == "shipped"


def test_detecting_again_finds_the_same(run: Run, project: Path) -> None:
    before = cells_of(project)
    again = run("detect", project)
    assert (again["new"], again["lost"], again["moved"]) == (0, 0, len(before))
    assert cells_of(project) == before


def test_only_the_images_named_are_searched(run: Run, fails: Run, project: Path) -> None:
    assert run("detect", project, "--images", "*_00[12].png")["images"] == 2
    fails("detect", project, "--images", "*.tif")


def test_finished_images_are_searched_only_by_name(run: Run, fails: Run, confirmed: Path) -> None:
    fails("detect", confirmed)
    assert run("detect", confirmed, "--images", "smear_001.png")["images"] == 1


def test_a_score_leaves_proposals_out(run: Run, project: Path) -> None:
    before = run("info", project)["cells"]
    assert run("detect", project, "--score", 0.9)["cells"] < before
    assert run("detect", project, "--score", 1)["cells"] == run("info", project)["cells"]


def test_what_was_found_before_ctrl_c_is_kept(
    smears: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Run, run: Run
) -> None:
    p = tmp_path / "p.cellal"
    run("new", p)
    run("add", p, smears)
    whole = detecting.detect

    def interrupted(request: detecting.DetectRequest) -> Any:
        for done, step in enumerate(whole(request)):
            yield step
            if done == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(detecting, "detect", interrupted)
    fails("detect", p)
    with Project.open(p) as project:
        assert len(project.cells.counts_by_image()) == 2
        assert project.history.undo_label


def test_a_missing_image_is_told_and_the_rest_goes_on(
    run: Run, smears: Path, tmp_path: Path
) -> None:
    shutil.copy(smears / "smear_001.png", tmp_path)
    shutil.copy(smears / "smear_002.png", tmp_path)
    p = tmp_path / "p.cellal"
    run("new", p, "--classes", "RBC")
    run("add", p, tmp_path)
    run("detect", p)
    (tmp_path / "smear_002.png").unlink()
    shutil.rmtree(p / "cache")
    found = run("detect", p)
    assert found["images"] == 1
    assert "smear_002.png" in found["failures"][0]
    assert len(run("measure", p)["failures"]) == 1
    assert run("suggest", p)["suggestions"]


def test_where_no_image_can_be_read_nothing_was_done(
    run: Run, fails: Run, smears: Path, tmp_path: Path
) -> None:
    for k in (1, 2):
        shutil.copy(smears / f"smear_00{k}.png", tmp_path)
    p = tmp_path / "p.cellal"
    run("new", p, "--classes", "RBC")
    run("add", p, tmp_path)
    run("detect", p, "--model", "classical")
    before = run("info", p)["cells"]
    for file in tmp_path.glob("*.png"):
        file.write_bytes(file.read_bytes()[:300])
    table = tmp_path / "t.csv"
    for argv in (
        ("detect", p, "--model", "classical"),
        ("scan", p, "--model", "classical", "--workers", 1),
        ("measure", p, "-o", table),
        ("suggest", p),
    ):
        assert "smear_001.png" in fails(*argv)
    assert not table.exists()
    assert run("info", p)["cells"] == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(fails: Run, project: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "pipe.png" in fails("add", project, tmp_path / "pipe.png")


def test_a_cache_that_is_no_folder(run: Run, fails: Run, project: Path) -> None:
    shutil.rmtree(project / "cache", ignore_errors=True)
    (project / "cache").write_text("")
    for command in ("measure", "suggest"):
        assert "cache" in fails(command, project)
    assert run("info", project)["cells"]


def test_a_full_disk_is_said(
    fails: Run, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)  # as the tables of features are written
    assert "full" in fails("suggest", project)


def test_paths_behind_options(run: Run, smears: Path, tmp_path: Path) -> None:
    p = tmp_path / "p.cellal"
    run("new", p)
    one = smears / "smear_001.png"
    assert run("scan", p, "--model", "classical", "--workers", 1, one)["done"] == 1


# -- suggest, simulate, seeds -----------------------------------------------------------------


def suggested(run: Run, project: Path, *options: object) -> list[str]:
    return [s["cell"] for s in run("suggest", project, *options)["suggestions"]]


def test_suggestions_follow_the_seed(run: Run, project: Path) -> None:
    random = ("-n", 20, "--strategy", "random")
    first = suggested(run, project, *random)
    assert len(set(first)) == 20
    assert suggested(run, project, *random) == first
    assert suggested(run, project, *random, "--seed", 0) == first
    assert suggested(run, project, *random, "--seed", 1) != first
    with Project.open(project) as opened:
        opened.settings = opened.settings.model_copy(update={"seed": 1})
    seeded = suggested(run, project, *random)
    assert seeded == suggested(run, project, *random, "--seed", 1)


def test_images_to_finish_are_named(run: Run, project: Path) -> None:
    found = run("suggest", project, "--images", "-n", 2)["images"]
    assert len(found) == 2
    assert found[0]["worth"] >= found[1]["worth"] > 0
    assert found[0]["open"] > 0


def test_no_suggestions_are_no_error(run: Run, project: Path, tmp_path: Path) -> None:
    assert suggested(run, project, "-n", 0) == []
    run("new", tmp_path / "empty")
    assert run("suggest", tmp_path / "empty.cellal")["remaining"] == 0


def test_simulations_follow_the_seed(run: Run, confirmed: Path) -> None:
    options = ("--strategies", "random", "--seeds", 2, "--steps", 12)
    first = run("simulate", confirmed, *options)
    assert run("simulate", confirmed, *options, "--seed", 0) == first
    assert run("simulate", confirmed, *options, "--seed", 9)["curves"] != first["curves"]


def test_how_much_boxes_may_overlap_is_chosen(run: Run, fails: Run, confirmed: Path) -> None:
    one = (
        "detect",
        confirmed,
        "--model",
        "shipped",
        "--images",
        "smear_001.png",
        "--device",
        "cpu",
    )
    usual = run(*one)["cells"]
    assert run(*one, "--same-class-iou", 0.01, "--any-class-iou", 0.01)["cells"] < usual
    assert run(*one, "--any-class-iou", 1)["cells"] >= usual
    for option in (("--flips",), ("--same-class-iou", 0.4)):
        fails("detect", confirmed, "--model", "classical", "--images", "smear_001.png", *option)


def test_the_published_experiment_is_repeated(run: Run, confirmed: Path, tmp_path: Path) -> None:
    plot = tmp_path / "curve.svg"
    two = ("--classes", "RBC,WBC", "--seeds", 1, "--plot", plot)
    found = run("simulate", confirmed, "--published", *two)
    assert set(found["curves"]) == {"uncertainty", "random"} == set(found["published"]["curves"])
    assert found["metric"] == "average_precision"
    for name, line in found["curves"].items():
        as_told = found["published"]["curves"][name]
        assert [p["labels"] for p in line] == [p["labels"] for p in as_told]
        assert line[0]["labels"] == 5
        assert line[-1]["labels"] == found["pool"]  # fewer cells than the 303 asked for
        assert line[-1]["mean"] > 0.9
    assert plot.read_text().count("as published") == 2


# -- train and demo ---------------------------------------------------------------------------


def test_training_registers_a_model_that_can_be_run(run: Run, confirmed: Path) -> None:
    trained = check(
        run("train", "detector", confirmed, "--steps", 2, "--start", "scratch", "--device", "cpu"),
        {
            "model": str,
            "start": str,
            "seconds": (int, float),
            "composite": str,
            "stopped": str,
            "in_use": bool,
            "old": (dict, type(None)),
            "new": (dict, type(None)),
            "changed": list,
            "warnings": list,
        },
    )
    for line in trained["changed"]:
        keys = {"image", "new", "lost", "moved", "reclassed", "f1_old", "f1_new"}
        assert set(line) == keys
        assert line["image"].startswith("smear")
    check(trained["old"], EVALUATION)
    check(trained["new"], EVALUATION)
    (card,) = run("info", confirmed)["models"]
    assert set(card) == {"model", "kind", "architecture", "start", "created_at", "metrics"}
    assert (card["model"], card["kind"]) == (trained["model"], "detector")
    found = run(
        "detect", confirmed, "--model", trained["model"], "--images", "*1.png", "--device", "cpu"
    )
    assert (found["model"], found["images"], found["device"]) == (trained["model"], 1, "cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT for one process")
def test_a_detectors_settings_are_given_by_name(run: Run, confirmed: Path) -> None:
    quick = ("--steps", 2, "--start", "scratch", "--device", "cpu")
    trained = run("train", "detector", confirmed, *quick, "--set", "optimizer=radam")
    card = json.loads((confirmed / "models" / trained["model"] / "card.json").read_text())
    assert card["settings"]["train"]["optimizer"] == "radam"
    for wrong in ("optimiser=radam", "weight_decay=-1"):
        assert main(["train", "detector", str(confirmed), "--set", wrong]) == 1


def test_ctrl_c_keeps_the_best_of_a_training(run: Run, confirmed: Path) -> None:
    options = ["--start", "scratch", "--device", "cpu", "--steps", "100000", "--shrink", "8"]
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_cellal", "train", "detector", confirmed, *options, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Training, loss" in line:
            process.send_signal(signal.SIGINT)
            break
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    trained = json.loads(out)
    assert trained["stopped"]
    (card,) = run("info", confirmed)["models"]
    assert card["model"] == trained["model"]
    assert not (confirmed / "models" / "unfinished").exists()


def steps_and(*signals: int) -> Job[int]:
    """A job that gets the signals at its steps; it returns how many steps it took."""
    taken = 0
    try:
        for number in (*signals, *[0] * 5):
            taken += 1
            yield Progress(taken, 0)
            if number:
                signal.raise_signal(number)
    except EndEarly:
        yield Progress(taken, 0)
    return taken


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT for one process")
def test_the_second_ctrl_c_ends_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    assert running.run_to_best(steps_and()) == 5
    assert running.run_to_best(steps_and(0, signal.SIGINT)) == 3  # that step was still taken
    job = deaf_after(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        running.run_to_best(job)
    with pytest.raises(KeyboardInterrupt):
        running.run_to_best(cannot_keep())
    assert signal.getsignal(signal.SIGINT) is before


def deaf_after(number: int) -> Job[None]:
    """A job whose first step lasts until the second signal."""
    yield Progress(0, 0)
    signal.raise_signal(number)
    signal.raise_signal(number)
    raise AssertionError("it went on")


def cannot_keep() -> Job[None]:
    yield Progress(0, 0)
    signal.raise_signal(signal.SIGINT)
    yield Progress(1, 0)
    raise AssertionError("it went on")


def test_a_learning_rate_is_found_and_nothing_else_happens(
    run: Run, confirmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_cellal.networks.rates.STEPS", 3)
    options = ("--start", "scratch", "--device", "cpu", "--find-rate")
    found = check(
        run("train", "detector", confirmed, *options),
        {"rates": list, "losses": list, "suggested": float},
    )
    assert len(found["rates"]) == len(found["losses"]) <= 3
    assert found["rates"] == sorted(found["rates"])
    assert run("info", confirmed)["models"] == []


def test_a_model_that_nothing_measured_is_not_used_by_itself(
    run: Run, smears: Path, tmp_path: Path
) -> None:
    p = tmp_path / "p.cellal"
    run("new", p, "--classes", "RBC,WBC,Platelets")
    run("add", p, smears)
    run("import", p, smears, "--confirm")
    run("split", p, "train", "*")  # so none is held out
    trained = run("train", "detector", p, "--steps", 1, "--start", "scratch", "--device", "cpu")
    assert (trained["old"], trained["new"], trained["in_use"]) == (None, None, False)
    assert run("info", p)["detector"] == "shipped"


def test_the_demo_without_training(run: Run, fails: Run, smears: Path, tmp_path: Path) -> None:
    options = ("--headless", "--data", smears, "--train-minutes", 0, "--answers", 6)
    report = check(
        run("demo", *options, "--project", tmp_path / "d"),
        {
            "data": str,
            "project": str,
            "images": int,
            "by_split": dict,
            "annotated_boxes": int,
            "problems": list,
            "detected": dict,
            "labels_spent": int,
            "passed_over": int,
            "learning_curve": list,
            "held_out_cells": int,
            "suggest_seconds": dict,
            "against_random": dict,
            "classed_by_learner": int,
            "test_classical_and_learner": dict,
            "cells": int,
            "seconds": dict,
        },
    )
    assert report["labels_spent"] == 6
    assert run("info", report["project"])["cells"] == report["cells"]
    check(report["test_classical_and_learner"], EVALUATION)
    fails("demo", *options, "--project", tmp_path / "d")
    again = run("demo", *options, "--project", tmp_path / "e")
    for key in ("learning_curve", "against_random", "test_classical_and_learner"):
        assert again[key] == report[key]


def test_a_demo_without_answers(run: Run, smears: Path, tmp_path: Path) -> None:
    options = ("--headless", "--data", smears, "--train-minutes", 0, "--answers", 0)
    assert run("demo", *options, "--project", tmp_path / "d")["labels_spent"] == 0


@pytest.mark.parametrize("name", ["empty", "nowhere", "pictures"])
def test_a_demo_on_nothing_is_an_error(fails: Run, smears: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    shutil.copy(smears / "smear_001.png", tmp_path / "pictures")
    assert name in fails("demo", "--headless", "--data", tmp_path / name)


# -- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("info", "P"),
        ("add", "P", "."),
        ("import", "P", "."),
        ("detect", "P"),
        ("measure", "P"),
        ("suggest", "P"),
        ("label", "P", "c", "RBC"),
        ("review", "P", "accept", "c"),
        ("train", "detector", "P"),
        ("evaluate", "P"),
        ("simulate", "P"),
        ("export", "P", "out"),
    ],
    ids=lambda command: command[0],
)
def test_a_project_that_is_not_there_or_in_use(
    fails: Run, project: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    def named(place: Path) -> list[str]:
        return [str(place) if word == "P" else word for word in command]

    assert "nowhere" in fails(*named(tmp_path / "nowhere.cellal"))
    assert tmp_path.name in fails(*named(tmp_path))
    with Project.open(project):
        assert str(os.getpid()) in fails(*named(project))


def test_a_project_that_another_process_holds(fails: Run, project: Path) -> None:
    script = (
        "import sys; from napari_cellal.io.store import Project\n"
        "with Project.open(sys.argv[1]): print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(project)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        assert str(holder.pid) in fails("info", project)
    assert main(["info", str(project)]) == 0


def test_errors_of_new(fails: Run, project: Path, tmp_path: Path) -> None:
    assert project.name in fails("new", project)
    (tmp_path / "file").touch()
    fails("new", tmp_path / "file" / "p")


def test_errors_of_add(fails: Run, run: Run, smears: Path, tmp_path: Path) -> None:
    p = tmp_path / "p.cellal"
    run("new", p)
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("smear_001\n", encoding="utf-8")
    assert "empty" in fails("add", p, tmp_path / "empty")
    assert "nowhere" in fails("add", p, tmp_path / "nowhere")
    assert "note.txt" in fails("add", p, tmp_path / "note.txt")
    assert "missing" in fails("add", p, smears, "--split", f"train={tmp_path / 'missing'}")
    assert "holdout" in fails("add", p, smears, "--split", f"holdout={tmp_path / 'note.txt'}")
    note = tmp_path / "note.txt"
    assert "smear_001" in fails("add", p, smears, "--split", f"train={note}", f"test={note}")
    fails("add", p, smears, "--split", "train")
    assert run("info", p)["images"] == 0


def test_errors_of_import(fails: Run, project: Path, smears: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("import", project, tmp_path / "empty")
    assert "nowhere" in fails("import", project, tmp_path / "nowhere")
    assert "smear_001.png" in fails("import", project, smears / "smear_001.png")
    assert "--confirm" in fails("import", project, smears, "--finished")


def test_annotations_of_other_images_are_told(
    smears: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    p = tmp_path / "p.cellal"
    assert main(["new", str(p)]) == 0
    capsys.readouterr()
    assert main(["import", str(p), str(smears), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["matched"] == 0
    assert json.loads(out)["unmatched"][0] in err


def test_errors_of_names(fails: Run, project: Path) -> None:
    cell = cells_of(project)[0]
    assert "Neutrophil" in fails("label", project, cell, "Neutrophil")
    assert "zz" in fails("label", project, "zz", "RBC")
    assert "zz" in fails("review", project, "accept", cell, "zz")
    assert "classical" in fails("detect", project, "--model", "yolo")
    assert "margin" in fails("suggest", project, "--strategy", "oracle")
    assert "svm" in fails("suggest", project, "--estimator", "oracle")


def test_a_review_of_a_cell_that_is_not_there_reviews_none(
    fails: Run, run: Run, project: Path
) -> None:
    before = run("info", project)["by_status"]
    fails("review", project, "accept", cells_of(project)[0], "zz")
    assert run("info", project)["by_status"] == before


def test_errors_where_labels_are_missing(fails: Run, project: Path) -> None:
    for command in (("simulate",), ("evaluate",), ("evaluate", "--split", "val")):
        fails(command[0], project, *command[1:])
    fails("train", "detector", project)


def test_errors_where_there_are_labels(fails: Run, confirmed: Path) -> None:
    assert "margin" in fails("simulate", confirmed, "--strategies", "random,oracle")
    assert "svm" in fails("simulate", confirmed, "--estimator", "oracle")
    assert "Neutrophil" in fails("simulate", confirmed, "--classes", "RBC,Neutrophil")
    fails("simulate", confirmed, "--classes", "RBC")
    assert "classical" in fails("evaluate", confirmed, "--model", "yolo")
    fails("train", "detector", confirmed, "--start", "no.safetensors", "--steps", 1)
    nowhere = confirmed.with_name("nowhere")
    for command in ("explain", "report", "overview", "info"):
        assert "nowhere" in fails(command, nowhere)
    assert "fast" in fails(
        "train", "detector", confirmed, "--preset", "huge", "--start", "scratch", "--steps", 1
    )


def test_errors_of_what_cannot_be_written(
    fails: Run, run: Run, project: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert "file" in fails("export", project, tmp_path / "file")
    assert "file" in fails("export", project, tmp_path / "file" / "sub")
    assert "file" in fails("measure", project, "-o", tmp_path / "file" / "t.csv")
    fails("measure", project, "-o", tmp_path)
    run("new", tmp_path / "empty")
    fails("measure", tmp_path / "empty.cellal")
    fails("detect", tmp_path / "empty.cellal")


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("conjure",),
        ("info",),
        ("label", "P", "cell"),
        ("review", "P", "praise", "cell"),
        ("import", "P", ".", "--format", "dicom"),
        ("export", "P", "out", "--format", "dicom"),
        ("detect", "P", "--device", "abacus"),
        ("detect", "P", "--score", "high"),
        ("detect", "P", "--score", "2"),
        ("detect", "P", "--same-class-iou", "0"),
        ("detect", "P", "--any-class-iou", "1.1"),
        ("suggest", "P", "-n", "-1"),
        ("suggest", "P", "--seed", "-1"),
        ("simulate", "P", "--seeds", "0"),
        ("simulate", "P", "--steps", "-3"),
        ("simulate", "P", "--metric", "beauty"),
        ("train", "detector", "P", "--steps", "0"),
        ("train", "detector", "P", "--minutes", "-1"),
        ("train", "detector", "P", "--minutes", "nan"),
        ("train", "oracle", "P"),
        ("evaluate", "P", "--split", "holdout"),
        ("demo", "--answers", "-1"),
        ("info", "P", "Q"),
        ("scan", "P", "--model", "classical", "Q", "--oracle"),
    ],
    ids=" ".join,
)
def test_wrong_usage(argv: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


# -- the documentation --------------------------------------------------------------------------


def test_every_command_and_option_is_documented() -> None:
    from napari_cellal.cli.arguments import make_parser

    text = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    (commands,) = (a for a in make_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for name, parser in commands.choices.items():
        assert f"`{name} " in text, name
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help", "--output") or f"{option}" in text, option
