"""A detector on all channels, on principal components, and on colours, by the same commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from napari_cellal.cli import main
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import ModelRecord
from napari_cellal.detect.registry import load_detector
from napari_cellal.io.planes import read_plane
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.networks.model_files import load_record
from napari_cellal.workflows import compositing, detecting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of five-channel fields, every cell confirmed."""
    folder = tmp_path_factory.mktemp("fields")
    write_samples(folder / "data", "fluorescence", 6, 0, shape=(150, 170))
    project = folder / "f.cellal"
    assert main(["new", str(project), "--classes", "interphase,mitotic,large"]) == 0
    assert main(["add", str(project), str(folder / "data")]) == 0
    imported = ["import", str(project), str(folder / "data"), "--confirm", "--finished"]
    assert main(imported) == 0
    return project


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template.parent / "data", tmp_path / "data")
    shutil.copytree(template, tmp_path / "f.cellal")
    return tmp_path / "f.cellal"


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*map(str, argv), "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.mark.parametrize(("kind", "seen"), [("none", 5), ("pca", 3), ("colors", 3)])
def test_a_model_remembers_what_it_sees(
    folder: Path, capsys: pytest.CaptureFixture[str], kind: str, seen: int
) -> None:
    trained = run(capsys, "train", "detector", folder, "--steps", 2, "--start", "scratch",
                  "--composite", kind, "--shrink", 2, "--device", "cpu")  # fmt: skip
    assert trained["composite"] == kind
    with Project.open(folder) as project:
        card = load_record(project.model_folder(trained["model"]))
        assert len(card.channels) == 5
        assert len(card.normalization["mean"]) == seen
        stored = project.composite(kind)
        key = next(iter(project.images))
        pixels = read_plane(project.image_path(key), project.plane(key))
        detector = load_detector(project.model_folder(trained["model"]), "cpu")
        detector.detect(pixels, image_id=key, rgb=False)
        with pytest.raises(ModelError):
            detector.detect(pixels[:3], image_id=key, rgb=False)
    if kind == "none":
        assert stored is None
        assert "composite" not in card.settings
    else:
        assert stored is not None
        assert card.settings["composite"]["kind"] == kind
    found = run(capsys, "detect", folder, "--model", trained["model"], "--images", "*.*")
    assert found["failures"] == []
    assert found["warnings"] == []


def test_shrinking_halves_what_the_network_sees(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scales = []
    for shrink in (1, 2):
        model = run(capsys, "train", "detector", folder, "--steps", 1, "--start", "scratch",
                    "--shrink", shrink, "--device", "cpu")["model"]  # fmt: skip
        scales.append(load_record(folder / "models" / model).settings["network"]["scale"])
    assert scales[1] == pytest.approx(scales[0] / 2)


def test_further_training_keeps_the_composite(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("--steps", 1, "--device", "cpu")
    first = run(capsys, "train", "detector", folder, *common, "--start", "scratch",
                "--composite", "pca")["model"]  # fmt: skip
    again = run(capsys, "train", "detector", folder, *common, "--start", first)
    assert again["composite"] == "pca"
    for other in (("--composite", "colors"), ("--shrink", 2)):
        wrong = ["train", "detector", folder, *common, "--start", first, *other]
        assert main([*map(str, wrong)]) == 1


def test_the_project_keeps_one_map(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "composite", folder, "--kind", "pca")
    assert len(shown["explained"]) == 5
    assert sum(shown["explained"]) == pytest.approx(1, abs=1e-3)
    pictures = folder.parent / "pictures"
    colors = run(capsys, "composite", folder, "--colors", "DNA=red,ER=none", "-o", pictures)
    assert colors["colors"][:2] == ["#FF0000", "#000000"]
    assert colors["problems"] == []
    with Project.open(folder) as project:
        stored = project.composite("pca")
        assert stored is not None
        assert shown["weights"][0] == pytest.approx(stored.weights[0], abs=1e-4)
        assert run_job(compositing.composite_for(project, "pca")) == stored
        painted = project.composite("colors")
        assert painted is not None
        assert len(list(pictures.glob("*.png"))) == len(project.images)
        key, record = next(iter(project.images.items()))
        pixels = read_plane(project.image_path(key), project.plane(key))
        (file,) = pictures.glob(record.name.split(".")[0] + "*.png")
        got = np.moveaxis(np.asarray(Image.open(file)), -1, 0)
        np.testing.assert_array_equal(got, painted.apply(pixels))


def test_what_has_no_composite(smears: Path, tmp_path: Path) -> None:
    assert main(["new", str(tmp_path / "s.cellal")]) == 0
    assert main(["add", str(tmp_path / "s.cellal"), str(smears)]) == 0
    assert main(["composite", str(tmp_path / "s.cellal")]) == 1
    with Project.open(tmp_path / "s.cellal") as project, pytest.raises(CellalError):
        compositing.request_composite(project, "rainbow")


def test_other_channels_are_told_before_the_run(folder: Path) -> None:
    with Project.open(folder) as project:
        images = list(project.images.values())
        card = ModelRecord("m", "detector", "mobilenet_v3", (1,), ("a",), images[0].channels)
        say = detecting.channel_warnings
        assert say(card, images) == ()
        turned = replace(card, channels=images[0].channels[::-1])
        (order,) = say(turned, images)
        assert "order" in order
        (other,) = say(replace(card, channels=("x", *images[0].channels[1:])), images)
        assert images[0].name in other
        nameless = replace(images[0], channels=tuple(f"Ch{k}" for k in range(5)))
        assert say(card, [nameless]) == ()
        project.add_model(turned)
        request = detecting.request_detection(project, list(project.images), model="m")
        assert request.warnings == (order,)
        few = replace(images[0], image_id="few", path="few", channels=tuple("abcd"))
        project.add_images([few])
        with pytest.raises(ModelError, match="4"):
            detecting.request_detection(project, ["few"], model="m")


def test_pictures_of_like_names_do_not_overwrite_each_other(folder: Path, tmp_path: Path) -> None:
    """Capitals are no difference on Windows and macOS."""
    with Project.open(folder) as project:
        first, second, *_ = project.images.values()
        project.replace_images([replace(first, title="B/x.tif"), replace(second, title="b_X.tif")])
        composite = run_job(compositing.composite_for(project, "colors"))
        assert composite is not None
        problems = run_job(compositing.export_composites(project, composite, tmp_path / "out"))
        assert problems == []
        names = {file.name.casefold() for file in (tmp_path / "out").iterdir()}
        assert len(names) == len(project.images)
