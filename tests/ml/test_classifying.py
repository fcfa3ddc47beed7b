"""Classifiers on a project's cells and on folders, by the workflows and by the command line."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from napari_cellal.classify.alike import features_of
from napari_cellal.classify.pictures import Cutter, seen
from napari_cellal.classify.predict import load
from napari_cellal.classify.requests import Patch, TrainedClassifier
from napari_cellal.classify.settings import ViewSettings
from napari_cellal.classify.splits import as_taught
from napari_cellal.cli import main
from napari_cellal.core import gestures
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.history import edit_of
from napari_cellal.core.masks import mask_of
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Detections, ModelRecord, Proposal, Split
from napari_cellal.io.store import Project
from napari_cellal.networks.model_files import load_record
from napari_cellal.networks.normalization import Normalization
from napari_cellal.workflows import (
    adding,
    classifying,
    detecting,
    judging,
    patches,
    reporting,
    scoring,
)
from napari_cellal.workflows.patches import of_cells

pytestmark = pytest.mark.usefixtures("one_torch_thread")

CELLS = {"bright": 230, "dark": 20}
QUICK = ["--preset", "resnet18", "--start", "scratch", "--size", "32", "--device", "cpu"]


def cell_picture(kind, rng, side=32):
    pixels = rng.normal(120, 8, (side, side, 3))
    yy, xx = np.mgrid[:side, :side] - side / 2
    pixels[yy**2 + xx**2 < (side / 3) ** 2] = CELLS[kind]
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """32 cells of each class, and a table with their split; one file is broken, one not there."""
    place = tmp_path_factory.mktemp("patches")
    rng = np.random.default_rng(0)
    rows = []
    for kind in CELLS:
        (place / kind).mkdir()
        for k in range(32):
            Image.fromarray(cell_picture(kind, rng)).save(place / kind / f"{k}.png")
            split = "test" if k >= 24 else "val" if k >= 20 else "train"
            rows.append(f"{kind}/{k}.png,{kind},{split},slide{k % 2}")
    (place / "dark" / "3.png").write_bytes(b"no picture")
    rows.append("dark/99.png,dark,train,slide0")
    table = ["filename,label,split,source", *rows]
    (place / "labels.csv").write_text("\n".join(table) + "\n")
    return place


def run(*argv):
    assert main([*map(str, argv), "--json"]) == 0


@pytest.fixture(scope="module")
def model(folder, tmp_path_factory):
    """The folder of a classifier trained on those cells."""
    found = patches.of_folder(folder)
    request = classifying.request_classifier(
        found, tmp_path_factory.mktemp("models"), preset="resnet18", start="scratch",
        view={"size_px": 32}, steps=16, batch_size=8, device="cpu", average=0.8,
    )  # fmt: skip
    return run_job(classifying.train(request)).folder


def test_a_folder_is_learned_and_measured_by_command(folder, tmp_path, capsys):
    models = tmp_path / "models"
    run("train", "classifier", folder, *QUICK, "--steps", 2, "-o", models)
    said = json.loads(capsys.readouterr().out)
    assert said["cells"]["train"] == {"bright": 20, "dark": 20}
    assert said["cells"]["test"] == {"bright": 8, "dark": 8}
    assert len(said["failures"]) == 1
    assert "3.png" in said["failures"][0]
    assert any("99.png" in note for note in said["notes"])
    assert said["test"]["cells"] == 16
    assert said["val"]["split"] == "val"
    assert Path(said["folder"], "card.json").is_file()


def test_figures_of_a_model_on_a_folder(folder, model, capsys):
    run("evaluate", folder, "--model", model)
    said = json.loads(capsys.readouterr().out)
    assert said["accuracy"] >= 0.9
    assert said["per_source"].keys() == {"slide0", "slide1"}
    assert np.sum(said["confusion"]["counts"]) == said["cells"] == 16
    assert said["confusion"]["classes"] == ["bright", "dark"]


def test_a_folder_is_classed_into_a_table(folder, model, tmp_path, capsys):
    run("predict", model, folder / "bright", folder / "dark", "-o", tmp_path / "said.csv")
    said = json.loads(capsys.readouterr().out)
    assert said["pictures"] == 63
    assert len(said["failures"]) == 1
    with (tmp_path / "said.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [Path(r["file"]).parent.name == r["class"] for r in rows]
    assert np.mean(right) > 0.9
    assert all(float(r["bright"]) + float(r["dark"]) == pytest.approx(1, abs=2e-4) for r in rows)


def test_classes_that_a_model_does_not_know_are_told(folder, model, tmp_path):
    (tmp_path / "dark").mkdir()
    (tmp_path / "odd").mkdir()
    for name in ("dark/1.png", "odd/1.png"):
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / name)
    found = patches.of_folder(tmp_path, class_names={1: "bright", 2: "dark"})
    assert [p.class_ids for p in found.patches] == [(2,)]
    assert any("'odd'" in note for note in found.notes)
    with pytest.raises(CellalError, match="known"):
        patches.of_folder(tmp_path, class_names={1: "green"})


@pytest.fixture
def project(tmp_path):
    """Three images of 16 cells; two of them labelled, all cells a model's proposals."""
    rng = np.random.default_rng(1)
    images = tmp_path / "images"
    images.mkdir()
    kinds = list(CELLS)
    for name in "abc":
        pixels = np.concatenate([
            np.concatenate([cell_picture(kinds[(r + c) % 2], rng) for c in range(4)], axis=1)
            for r in range(4)
        ])  # fmt: skip
        Image.fromarray(pixels).save(images / f"{name}.png")
    with Project.create(tmp_path / "p", ["dark", "bright"]) as project:
        splits = {"a": Split.TRAIN, "b": Split.TEST, "c": Split.TRAIN}
        adding.add_looked(project, run_job(adding.look_at_images([images])), splits)
        boxes = tuple(
            (32.0 * r + 4, 32.0 * c + 4, 32.0 * r + 28, 32.0 * c + 28)
            for r in range(4)
            for c in range(4)
        )
        n = len(boxes)
        for key in project.images:
            found = Detections(key, boxes, (0.9,) * n, (None,) * n, "classical")
            detecting.apply_detections(project, [found])
        ids = {name: c.class_id for c in project.active_classes for name in [c.name]}
        for key, image in project.images.items():
            if image.name[0] in "ab":
                for cell in project.cells.of_image(key):
                    y, x = int(cell.box[0]) // 32, int(cell.box[1]) // 32
                    kind = ids[kinds[(y + x) % 2]]
                    project.history.do(gestures.give_class([cell], kind, kinds[(y + x) % 2], "me"))
        yield project


def test_a_projects_cells_keep_their_images_split(project):
    found = patches.of_project(project)
    counts = found.counts()
    assert sum(counts["test"].values()) == 16
    assert sum(counts["train"].values()) + sum(counts["val"].values()) == 16
    assert set(found.class_names.values()) == {"bright", "dark"}
    assert all(p.box is not None for p in found.patches)


def test_a_classifier_gives_open_cells_their_class_and_undo_takes_it_back(project, model):
    request = classifying.request_classing(project, Path(model), device="cpu")
    assert len(request.patches) == 16  # those of c; the others are a person's
    before = {c.cell_id: c for key in project.images for c in project.cells.of_image(key)}
    said = run_job(classifying.class_patches(request))
    assert classifying.apply_classed(project, said) == 16
    names = {c.class_id: c.name for c in project.active_classes}
    model_id = said.record.model_id
    right = 0
    for key, image in project.images.items():
        for cell in project.cells.of_image(key):
            if image.name != "c.png":
                assert cell == before[cell.cell_id]
                continue
            y, x = int(cell.box[0]) // 32, int(cell.box[1]) // 32
            right += names[cell.class_id] == list(CELLS)[(y + x) % 2]
            assert cell.proposed.model_id == f"classical+{model_id}"
            assert cell.proposed.score == 0.9
            assert sum(p for _, p in cell.proposed.probabilities) == pytest.approx(1, abs=1e-4)
            assert cell.review == "open"
    assert right >= 14
    project.history.undo()
    after = {c.cell_id: c for key in project.images for c in project.cells.of_image(key)}
    assert after == before


def test_only_sure_cells_are_classed(project, model):
    request = classifying.request_classing(project, Path(model), device="cpu")
    said = run_job(classifying.class_patches(request))
    best = sorted(p[0][1] for p in said.classes().values())
    assert classifying.apply_classed(project, said, best[8]) == 8


def test_a_model_of_other_classes_or_channels_is_refused(project, model, tmp_path):
    for c in project.active_classes:
        project.update_class(type(c)(c.class_id, f"other {c.class_id}", c.color))
    with pytest.raises(ModelError, match="none of the project's classes"):
        classifying.request_classing(project, Path(model))
    with pytest.raises(ModelError, match="no classifier"):
        classifying.find_classifier(project, "auto")


def dimmed(folder, place):
    """Return the test pictures of a folder a fifth as bright: another microscope's."""
    for kind in ("bright", "dark"):
        (place / kind).mkdir(parents=True)
        for k in range(24, 32):
            pixels = np.asarray(Image.open(folder / kind / f"{k}.png"))
            Image.fromarray((pixels // 5).astype(np.uint8)).save(place / kind / f"{k}.png")
    return place


def test_where_no_picture_could_be_classed_the_old_table_stays(model, tmp_path, capsys):
    table, bad = tmp_path / "said.csv", tmp_path / "bad"
    bad.mkdir()
    table.write_text("yesterday's")
    for name in ("a.png", "b.png"):
        (bad / name).write_bytes(b"no picture")
    assert main(["predict", model, str(bad), "-o", str(table)]) == 1
    assert "a.png" in capsys.readouterr().err.splitlines()[-1]
    assert table.read_text() == "yesterday's"


def test_own_intensities_are_a_switch_of_every_command(folder, model, project, tmp_path, capsys):
    dim = dimmed(folder, tmp_path / "dim")
    right, why = [], []
    for switch in ((), ("--own-range",)):
        run("evaluate", dim, "--model", model, "--split", "all", *switch)
        right.append(json.loads(capsys.readouterr().out)["accuracy"])
        run("report", dim, "--model", model, "--split", "all", "-o", tmp_path / "r.html", *switch)
        (told,) = json.loads(capsys.readouterr().out)["models"]
        assert told["accuracy"] == right[-1]
        run("explain", dim / "dark" / "24.png", "--model", model, *switch)
        why.append(json.loads(capsys.readouterr().out)["probabilities"])
    assert right[0] < right[1]
    assert why[0] != why[1]
    folder_of = classifying.find_classifier(None, model)
    classes = {}
    for own_range in (False, True):
        request = classifying.request_classing(project, folder_of, own_range=own_range)
        found = run_job(classifying.class_patches(request)).probabilities
        classes[own_range] = np.stack(list(found.values()))
    assert not np.allclose(classes[False], classes[True])
    place = project.folder
    project.close()
    run("classify", place, "--model", model, "--own-range")
    assert json.loads(capsys.readouterr().out)["classed"]


def test_a_project_is_measured_by_own_intensities_in_its_page_too(project, model, tmp_path, capsys):
    record = load_record(Path(model))
    shutil.copytree(model, project.model_folder(record.model_id))
    project.add_model(record)
    place = project.folder
    project.close()
    argv = (place, "--model", record.model_id, "--split", "all")
    said, drawn = [], []
    for switch in ((), ("--own-range",)):
        run("evaluate", *argv, *switch)
        said.append(json.loads(capsys.readouterr().out))
        run("report", *argv, "-o", tmp_path / "r.html", *switch)
        (told,) = json.loads(capsys.readouterr().out)["models"]
        assert told["accuracy"] == said[-1]["accuracy"]
        drawn.append(re.findall("<svg.*?</svg>", (tmp_path / "r.html").read_text(), re.DOTALL))
    assert said[0]["losses"] != said[1]["losses"]
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_broken_pictures_stops_nothing(folder, tmp_path, capsys, split):
    place = shutil.copytree(folder, tmp_path / "d")
    with (place / "labels.csv").open(newline="") as file:
        bad = [row["filename"] for row in csv.DictReader(file) if row["split"] == split]
    for name in bad:
        (place / name).write_bytes(b"no picture")
    run("train", "classifier", place, *QUICK, "--steps", 2, "-o", tmp_path / "m")
    said = json.loads(capsys.readouterr().out)
    assert Path(said["folder"], "card.json").is_file()
    assert (said["test"] is None) == (split == "test")
    assert (said["val"] is None) == (split == "val")
    told = said["failures"] if split == "val" else said["notes"]
    assert len(told) >= (len(bad) if split == "val" else 1)  # and one that is always broken


@pytest.mark.parametrize(
    ("option", "word"),
    [(("--field", "30"), "--field"), (("--norm", "group", "--preset", "vgg16"), "--norm")],
)
def test_an_option_that_changes_nothing_is_told(folder, tmp_path, capsys, option, word):
    command = ["train", "classifier", str(folder), *QUICK, *option, "--set", "steps=0"]
    assert main([*command, "-o", str(tmp_path / "m")]) == 1  # nothing is trained
    assert any(word in line for line in capsys.readouterr().err.splitlines()[:-1])


def test_any_setting_can_be_given_by_its_name(folder, tmp_path, capsys):
    models = tmp_path / "models"
    run(
        "train", "classifier", folder, *QUICK, "--steps", 2, "-o", models, "--no-jitter",
        "--set", "optimizer=radam", "--set", "class_weights=false", "--set", "dropout=0.4",
    )  # fmt: skip
    capsys.readouterr()
    (card,) = models.glob("*/card.json")
    kept = json.loads(card.read_text())["settings"]
    assert kept["train"]["optimizer"] == "radam"
    assert kept["train"]["class_weights"] is False
    assert kept["network"]["dropout"] == 0.4
    assert kept["train"]["stain_jitter"] == kept["train"]["brightness_jitter"] == 0
    for wrong in ("droput=1", "dropout", "dropout=2", "optimizer=sgd"):
        command = ["train", "classifier", str(folder), *QUICK, "-o", str(models), "--set", wrong]
        assert main(command) == 1
        last = capsys.readouterr().err.strip().splitlines()[-1]
        assert last.endswith(".")
        assert wrong.partition("=")[0] in last


def test_a_project_is_learned_by_command_and_the_detector_stays(project, capsys):
    place = project.folder
    project.close()
    run("train", "classifier", place, *QUICK, "--steps", 4)
    said = json.loads(capsys.readouterr().out)
    run("evaluate", place, "--model", said["model"])
    assert json.loads(capsys.readouterr().out)["cells"] == 16
    run("classify", place, "--model", said["model"])
    classed = json.loads(capsys.readouterr().out)
    assert (classed["cells"], classed["classed"]) == (16, 16)
    run("models", place)
    listed = json.loads(capsys.readouterr().out)
    assert {m["model"]: m["kind"] for m in listed["models"]}[said["model"]] == "classifier"
    assert listed["detector"] != said["model"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--preset", "nothing"),
        ("--context", "-1"),
        ("--center", "3"),
        ("--labels", "gone.csv"),
        ("--start", "gone.safetensors"),
        ("--preset", "vit_b_16", "--start", "gone"),
    ],
)
def test_what_does_not_fit_is_one_sentence(folder, tmp_path, capsys, argv):
    common = ["train", "classifier", str(folder), "-o", str(tmp_path / "m"), "--steps", "1"]
    assert main([*common, "--start", "scratch", *argv]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.strip().splitlines()[-1].endswith(".")
    assert "Traceback" not in said.err


def test_an_answer_is_explained_by_figures_and_a_picture(folder, model, project, tmp_path, capsys):
    run("explain", folder / "dark" / "0.png", "--model", model, "-o", tmp_path / "why.png")
    said = json.loads(capsys.readouterr().out)
    assert said["method"] == "grad-cam"
    assert said["probabilities"][said["class"]] == max(said["probabilities"].values())
    assert all(0 <= v <= 1 for v in said["hottest"])
    assert list(said["channels"]) == ["red", "green", "blue"]
    picture = np.asarray(Image.open(tmp_path / "why.png"))
    bars = [(picture == color).all(axis=2).sum() for color in ((0, 114, 178), (213, 94, 0))]
    assert picture.shape[1] > picture.shape[0]  # the cell and what spoke for it, side by side
    assert sum(bars) >= 3 * 10  # and what each channel adds
    cell = project.cells.of_image(next(iter(project.images)))[0]
    names = {c.class_id: c.name for c in project.active_classes}
    place = project.folder
    project.close()
    sheet = tmp_path / "cell.png"
    run("explain", place, "--cell", cell.cell_id, "--model", model, "--class", "dark", "-o", sheet)
    said = json.loads(capsys.readouterr().out)
    assert said["class"] == "dark"
    # the like of a cell are of its class, and not itself
    assert len(said["neighbours"]) == 3
    assert {n["class"] for n in said["neighbours"]} == {names[cell.class_id]}
    assert cell.cell_id not in {n["cell"] for n in said["neighbours"]}
    apart = [n["distance"] for n in said["neighbours"]]
    assert apart == sorted(apart)
    rows = np.asarray(Image.open(sheet))
    assert rows.shape[0] > picture.shape[0]  # they stand below the heat map
    for wrong in (["--cell", "none"], [], ["--cell", cell.cell_id, "--class", "odd"]):
        assert main(["explain", str(place), "--model", model, *wrong]) == 1
        assert capsys.readouterr().err.strip().endswith(".")


def test_what_was_computed_of_confirmed_cells_serves_again(project, model, tmp_path, monkeypatch):
    classifier = load(Path(model), "cpu")
    cells = of_cells(project, project.cells.labels())
    file = tmp_path / "kept.npz"
    read, rows = run_job(features_of(classifier, cells, file))
    gone = replace(cells[0], path="gone.png")
    looked = []
    features = classifier.network.features
    monkeypatch.setattr(
        classifier.network, "features", lambda x: looked.append(len(x)) or features(x)
    )
    again, same = run_job(features_of(classifier, [*cells[:5], gone], file))
    assert looked == []  # neither known ones nor one that cannot be read
    assert again == read[:5]
    assert np.array_equal(same, rows[:5])
    moved = replace(cells[3], box=tuple(v + 2 for v in cells[3].box))
    run_job(features_of(classifier, [moved], file))
    assert looked == [1]
    file.write_bytes(b"broken")
    assert len(run_job(features_of(classifier, cells, file))[0]) == len(cells)


def test_the_mask_says_what_is_background(project):
    cells = of_cells(project, project.cells.labels()[:1])
    bits = np.zeros((24, 24), bool)
    bits[4:20, 6:18] = True
    y0, x0 = (int(v) for v in cells[0].box[:2])
    masked = replace(cells[0], mask=mask_of(bits, y0, x0))
    view = ViewSettings(size_px=24, context=0, mask_background=True)
    cutter = Cutter(view)
    assert cutter.outline(cells[0]) is None
    outline = cutter.outline(masked)
    assert np.array_equal(outline, bits)
    pixels = cutter.cut(masked)
    normal = Normalization("uint8", (0,) * 3, (255,) * 3, (0.4, 0.5, 0.6), (0.2,) * 3)
    shown = seen(pixels, normal, view, outline)
    assert np.allclose(shown[:, ~bits], np.array([0.4, 0.5, 0.6])[:, None])
    assert np.allclose(shown[:, bits], normal.to_unit(pixels)[:, bits])


def test_a_site_of_six_channels_is_one_picture(tmp_path, capsys):
    rng = np.random.default_rng(2)
    lines = ["experiment,plate,well,site,sirna"]
    for k in range(24):
        place = tmp_path / "d" / f"E{k % 4}" / "Plate1"
        place.mkdir(parents=True, exist_ok=True)
        for w in range(1, 7):
            pixels = rng.integers(0, 60, (32, 32))
            if w == 4 and k % 3 == 0:
                pixels[8:24, 8:24] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"B{k:02}_s1_w{w}.png")
        lines.append(f"E{k % 4},1,B{k:02},1,s{int(k % 3 == 0)}")
    (tmp_path / "d" / "metadata.csv").write_text("\n".join(lines) + "\n")
    run("train", "classifier", tmp_path / "d", *QUICK, "--steps", 12, "-o", tmp_path / "m")
    said = json.loads(capsys.readouterr().out)
    card = json.loads(Path(said["folder"], "card.json").read_text())
    assert len(card["normalization"]["low"]) == 6
    assert sum(sum(n.values()) for n in said["cells"].values()) == 24
    # a folder of sites is classed, a site a line, and one of them explained
    table = tmp_path / "said.csv"
    site = tmp_path / "d" / "E0" / "Plate1"
    (site / "B99_s1_w1.png").write_bytes((site / "B00_s1_w1.png").read_bytes())
    assert main(["predict", said["folder"], str(tmp_path / "d"), "-o", str(table)]) == 1
    assert "--pattern rxrx1" in capsys.readouterr().err
    run("predict", said["folder"], tmp_path / "d", "-o", table, "--pattern", "rxrx1")
    told = json.loads(capsys.readouterr().out)
    assert told["pictures"] == 24
    assert len(told["failures"]) == 1
    assert "B99" in told["failures"][0]
    run("explain", site / "B00_s1_w*.png", "--model", said["folder"])
    assert list(json.loads(capsys.readouterr().out)["channels"]) == [
        "nuclei", "reticulum", "actin", "nucleoli", "mitochondria", "Golgi"
    ]  # fmt: skip
    assert main(["explain", str(site / "C00_s1_w*.png"), "--model", said["folder"]]) == 1


def count(project, answers):
    """Return (true, said) of every cell as the labels are now."""
    images = scoring.images_of(project, answers)
    found = [scoring.matches_of(project, answers, key) for key in images]
    return {m.cell_id: m.square for some in found if some for m in some}


def test_answers_are_kept_and_counted_against_labels_that_change(project, model, tmp_path):
    record = load_record(Path(model))
    project.add_model(record)
    shutil.copytree(model, project.model_folder(record.model_id))
    request = scoring.request_score(project, model=record.model_id, split="all", device="cpu")
    answers = run_job(scoring.score(request))
    labels = {c.cell_id: c for c in project.cells.labels()}
    before = count(project, answers)
    assert before.keys() == labels.keys()
    # the model numbers its classes in another order than the project: they are told by name
    right = [key for key, (true, said) in before.items() if true == said]
    assert len(right) / len(before) == pytest.approx(answers.figures["accuracy"])
    assert answers.figures["accuracy"] > 0.9
    names = {c.class_id: c.name for c in project.active_classes}
    again = run_job(
        scoring.measure_classes_again(scoring.truth_again(project, answers), names, answers)
    )
    for key in ("roc_auc", "average_precision", "calibration_error", "macro_f1"):
        assert again[key] == pytest.approx(answers.figures[key])
    assert again["per_class"].keys() == answers.figures["per_class"].keys()
    cell = labels[right[0]]
    other = next(c for c in project.classes if c != cell.class_id)
    project.history.do(gestures.give_class([cell], other, "other", "test"))
    mended = scoring.measure_classes_again(scoring.truth_again(project, answers), names, answers)
    mended = run_job(mended)
    assert mended["accuracy"] == pytest.approx(again["accuracy"] - 1 / len(labels))
    page = tmp_path / "r.html"
    asked = reporting.request_report(project, page, [answers], pictures=False)
    (told,) = run_job(reporting.write_report(asked))["models"]
    assert told["accuracy"] == pytest.approx(mended["accuracy"])
    assert f"<b>{mended['average_precision']:.3f}</b>" in page.read_text(encoding="utf-8")
    assert f"{mended['average_precision']:.3f}" != f"{answers.figures['average_precision']:.3f}"
    after = count(project, answers)
    assert after[cell.cell_id] == (other, cell.class_id)
    assert {k: v for k, v in after.items() if k != cell.cell_id} == {
        k: v for k, v in before.items() if k != cell.cell_id
    }
    only = scoring.request_score(project, model=record.model_id, split="train").classes
    assert 0 < len(only.patches) < len(labels)
    with pytest.raises(CellalError):
        scoring.request_score(project, model=record.model_id, split="holdout")


@pytest.mark.parametrize(("several", "right"), [(False, ("a", "c")), (True, ("c",))])
def test_counted_again_as_at_first(several, right):
    """A class of the model that the project lacks is an answer too, and so are several classes."""
    said = {
        "a": ((1, 0.7), (2, 0.6), (None, 0.1)),
        "b": ((None, 0.6), (2, 0.3), (1, 0.1)),
        "c": ((2, 0.8), (None, 0.1), (1, 0.1)),
    }
    request = scoring.ScoreRequest("m", "all")
    answers = scoring.Answers(request, (), None, said, {"multi_label": several})
    truth = {"a": 1, "b": 2, "c": 2}
    again = run_job(scoring.measure_classes_again(truth, {1: "one", 2: "two"}, answers))
    assert again["accuracy"] == pytest.approx(len(right) / 3)
    assert list(again["per_class"]) == ["one", "two"]


def test_labels_against_what_was_proposed(project):
    with pytest.raises(CellalError):
        scoring.request_score(project, model=scoring.PROPOSED, split="all")
    image_id = next(iter(project.images))
    cells = [c for c in project.cells.of_image(image_id) if c.is_label][:3]
    said = Proposal(cells[0].box, 2, 0.7, "m", ((2, 0.6), (1, 0.4)))
    changes = [
        (c, replace(c, proposed=said, class_id=k)) for c, k in zip(cells, (2, 1, 2), strict=True)
    ]
    project.history.do(edit_of("proposed", changes, "test"))
    answers = run_job(
        scoring.score(scoring.request_score(project, model=scoring.PROPOSED, split="all"))
    )
    assert list(count(project, answers).values()) == [(2, 2), (1, 2), (2, 2)]
    assert {pairs[0][1] for pairs in answers.classes.values()} == {0.6}


def test_the_page_of_a_classifier_on_a_folder(folder, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    run("report", ".", "--model", model, "--against", model, "-o", tmp_path / "r.html")
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["cells"]) == (16, 16)
    assert [m["accuracy"] >= 0.9 for m in said["models"]] == [True, True]
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    matrices = [t for t in tree.iter("table") if t.get("class") == "matrix"]
    counts = [[td.text for td in m.iter("td") if td.text] for m in matrices]
    assert [sum(map(int, c)) for c in counts] == [16, 16]
    assert "slide1" in "".join(tree.itertext())
    assert tree.find(".//title").text.endswith(f" on {folder.name}")
    dots = [c for c in tree.iter("{http://www.w3.org/2000/svg}circle") if c.get("r") == "3"]
    assert len(dots) == 2 * 16  # by class, by source


def test_the_page_counts_what_was_measured_on(folder, model, tmp_path, capsys):
    """A broken picture is not."""
    argv = (folder, "--model", model, "--split", "all")
    run("evaluate", *argv)
    measured = json.loads(capsys.readouterr().out)["cells"]
    assert measured == 63
    run("report", *argv, "-o", tmp_path / "r.html", "--no-pictures")
    said = json.loads(capsys.readouterr().out)
    assert (said["images"], said["cells"]) == (measured, measured)
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    rows = [["".join(td.itertext()) for td in tr] for tr in tree.iter("tr")]
    by_source = [row for row in rows if row[0] in ("slide0", "slide1") and len(row) == 3]
    assert sum(int(n) for row in by_source for n in row[1:]) == measured


def test_the_page_shows_on_what_wrong_answers_rest(folder, model, tmp_path, capsys):
    turned = tmp_path / "turned.csv"
    rows = (folder / "labels.csv").read_text().splitlines()
    lines = [r for r in rows[1:] if ",test," in r and r.startswith("dark")]
    swapped = [r.replace(",dark,", ",bright,") for r in lines[:4]]
    turned.write_text("\n".join([rows[0], *swapped, *lines[4:]]) + "\n")
    file = tmp_path / "r.html"
    run("report", folder, "--model", model, "--labels", turned, "-o", file)
    figures = re.findall(r"<figure><img.*?</figure>", file.read_text(encoding="utf-8"))
    assert len(figures) == 4
    assert all(f.count("<img") == 2 for f in figures)  # the cell, and where it was found
    run("report", folder, "--model", model, "--labels", turned, "-o", file, "--no-pictures")
    assert "base64" not in file.read_text(encoding="utf-8")


def test_the_page_of_several_classes_a_picture(tmp_path, capsys):
    rng = np.random.default_rng(3)
    place = tmp_path / "d"
    place.mkdir()
    lines = ["filename,label,source,split"]
    for k in range(60):
        pixels = rng.normal(60, 8, (32, 32, 3))
        given = [name for c, name in enumerate(("red", "green")) if (k >> c) & 1]
        for c, name in enumerate(("red", "green")):
            pixels[8:24, 8:24, c] += 120 * (name in given)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{k}.png")
        split = "test" if k >= 40 else "val" if k >= 32 else "train"
        lines.append(f"{k}.png,{'|'.join(given)},{'east' if k % 3 else 'west'},{split}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n")
    run("train", "classifier", place, *QUICK, "--steps", 3, "-o", tmp_path / "m")
    folder_of = json.loads(capsys.readouterr().out)["folder"]
    run("evaluate", place, "--model", folder_of)
    figures = json.loads(capsys.readouterr().out)
    assert figures["multi_label"]
    file = tmp_path / "r.html"
    run("report", place, "--model", folder_of, "--against", folder_of, "-o", file)
    (first, second) = json.loads(capsys.readouterr().out)["models"]
    assert first["accuracy"] == second["accuracy"] == figures["accuracy"]
    tree = ElementTree.fromstring(file.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>"))
    text = "".join(tree.itertext())
    assert "west" in text
    rows = [["".join(td.itertext()) for td in tr] for tr in tree.iter("tr")]
    (red, again) = [row for row in rows if row[0] == "red" and len(row) == 7]
    assert red == again
    assert red[1] == str(figures["per_class"]["red"]["support"])
    assert red[5] == f"{figures['per_class']['red']['average_precision']:.3f}"
    (with_it,) = [row for row in rows if row[0] == "west" and len(row) == 3]
    assert list(map(int, with_it[1:])) == [
        sum(k % 3 == 0 and (k >> c) & 1 for k in range(40, 60)) for c in (1, 0)
    ]  # green before red
    wrong = [one for one in figures["losses"] if set(one["true"]) != set(one["predicted"])]
    assert wrong  # three steps do not reach far
    pictures = [f for f in tree.iter("figure") if f.find("img") is not None]
    assert len(pictures) == len(wrong)


def test_what_there_is_to_learn_is_told_first(folder, tmp_path):
    found = patches.of_folder(folder)
    lessons = patches.lessons_in(found)
    assert lessons.of("train") == {"bright": 20, "dark": 20}
    assert any("99.png" in text for text in lessons.warnings())
    few = patches.Lessons({"train": {"a": 3}, "val": {"b": 1}, "test": {}})
    said = " ".join(few.warnings())
    assert "one class (a)" in said
    assert "b: only held out" in said
    assert "no a" in said
    assert patches.Lessons({"val": {"a": 3}}).warnings()[-1].startswith("Nothing to learn")


def test_the_classifier_in_use_is_the_chosen_one_else_the_newest(tmp_path):
    record = ModelRecord("first", "classifier", "resnet18", (1,), ("a",), (), "2026-01-01")
    with Project.create(tmp_path / "p.cellal", ["a"]) as project:
        assert classifying.choose_classifier(project) is None
        project.add_model(record)
        project.add_model(replace(record, model_id="second", created_at="2026-01-02"))
        assert classifying.choose_classifier(project) == "second"
        classifying.use_classifier(project, "first")
        assert classifying.find_classifier(project, "auto").name == "first"
        classifying.use_classifier(project, "gone")
        assert classifying.choose_classifier(project) == "second"


def test_a_new_model_is_judged_beside_the_one_in_use(folder, model, tmp_path):
    found = patches.of_folder(folder)
    with Project.create(tmp_path / "p.cellal", ["bright", "dark"]) as project:
        old = replace(load_record(Path(model)), model_id="old")
        shutil.copytree(model, project.model_folder("old"))
        project.add_model(old)
        trained = TrainedClassifier(load_record(Path(model)), str(model))
        judged = run_job(judging.judge(judging.request_judgement(trained, found, project=project)))
        assert judged.split == "test"
        assert judged.new["cells"] == judged.old["cells"] == 16
        assert judged.new["accuracy"] == judged.old["accuracy"]
        project.add_model(replace(old, class_names=("bright", "other")))
        assert judging.request_judgement(trained, found, project=project).old is None
        alone = replace(found, patches=found.of_split("train"))
        assert judging.request_judgement(trained, alone) is None


def test_train_on_one_microscope_and_test_on_others_is_one_command(
    folder, project, tmp_path, capsys
):
    place = project.folder
    project.close()
    models = tmp_path / "m"
    run("train", "classifier", folder, *QUICK, "--steps", 2, "-o", models, "--test-on", folder,
        "--test-on", place)  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    ours, theirs = said["elsewhere"]
    assert (ours["pictures"], theirs["pictures"]) == (64, 32)
    assert np.sum(theirs["confusion"]["counts"]) == 32
    assert 0 <= theirs["own_range"]["accuracy"] <= 1
    before = sorted(models.iterdir())
    (tmp_path / "odd" / "other").mkdir(parents=True)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "odd" / "other" / "1.png")
    for wrong in (tmp_path / "odd", tmp_path / "gone"):  # said before hours of training
        argv = ["train", "classifier", folder, *QUICK, "-o", models, "--test-on", wrong]
        assert main([*map(str, argv)]) == 1
        assert capsys.readouterr().err.strip().endswith(".")
    assert sorted(models.iterdir()) == before


def test_an_older_model_is_never_tested_on_what_it_learned_from(folder, tmp_path, capsys):
    place = tmp_path / "growing"
    rng = np.random.default_rng(5)

    def add(first, last):
        for kind in CELLS:
            (place / kind).mkdir(parents=True, exist_ok=True)
            for k in range(first, last):
                cell_picture_file = place / kind / f"{k}.png"
                Image.fromarray(cell_picture(kind, rng)).save(cell_picture_file)

    add(0, 20)
    run("train", "classifier", place, *QUICK, "--steps", 2, "-o", tmp_path / "m")
    model = Path(json.loads(capsys.readouterr().out)["folder"])
    before = patches.of_folder(place, taught_to=model)
    learned = {p.key for p in before.patches if p.split != "test"}
    assert before.patches == patches.of_folder(place).patches
    add(20, 60)
    drawn = {p.key for p in patches.of_folder(place).of_split("test")}
    assert drawn & learned  # as the draw alone would have it
    after = patches.of_folder(place, taught_to=model)
    assert {p.key for p in after.patches if p.split != "test"} == learned
    run("evaluate", place, "--model", model)
    assert json.loads(capsys.readouterr().out)["cells"] == 120 - len(learned)


def test_new_pictures_of_a_group_that_was_learned_from_do_not_test():
    known = {"a": "train", "b": "test", "c": "val"}
    made = [
        Patch("a", "a", (1,), group="x"),
        Patch("new", "n", (1,), group="x"),
        Patch("b", "b", (1,), group="y", split="train"),
        Patch("c", "c", (1,), split="test"),
        Patch("free", "f", (1,)),
        Patch("said", "s", (1,), split="train"),
    ]
    splits = [p.split for p in as_taught(made, known)]
    assert splits == ["train", "train", "train", "val", "test", "train"]
