"""The page of the data: counts, sizes, intensities and a map, before there is a model."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from napari_cellal import cli
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Split
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, annotating, overviewing, patches

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def folder(tmp_path):
    """Bright and dark discs from two hospitals, of which one has larger and bluer pictures."""
    place, rng = tmp_path / "d", np.random.default_rng(0)
    place.mkdir()
    lines = ["filename,label,source"]
    for k in range(40):
        side = 60 if k % 4 else 90
        pixels = rng.normal(120, 8, (side, side, 3))
        yy, xx = np.mgrid[:side, :side] - side // 2
        pixels[yy**2 + xx**2 < 200] = 220 if k % 2 else 30
        pixels[..., 2] += 0 if k % 4 else 60
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{k}.png")
        kind = ("<dark>", "bright")[k % 2]
        lines.append(f"{k}.png,{kind},{'east' if k % 4 else 'west'}")
    (place / "labels.csv").write_text("\n".join(lines) + "\n")
    return place


@pytest.fixture
def project(tmp_path):
    write_samples(tmp_path / "smears", "smear", 3, 0, shape=(120, 160), cell_px=40)
    with Project.create(tmp_path / "p", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([tmp_path / "smears"])))
        found, report = run_job(annotating.read_annotations([str(tmp_path / "smears")]))
        annotating.import_annotations(project, found, report, confirm=True, finished=True)
        project.set_split(list(project.images)[:1], Split.VAL)
        yield project


def read(file):
    text = file.read_text(encoding="utf-8")
    assert all(
        a.startswith("data:image/jpeg;base64,") for a in re.findall(r'(?:src|href)="([^"]*)"', text)
    )
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


def dots(tree):
    return [c for c in tree.iter(f"{SVG}circle") if c.get("r") == "3"]


def words(node):
    return "".join(node.itertext())


def test_of_a_folder_by_command(folder, tmp_path, capsys):
    file = tmp_path / "o.html"
    assert cli.main(["overview", str(folder), "-o", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["cells"] == 40
    assert said["by_class"] == {"<dark>": 20, "bright": 20}
    assert said["by_source"] == {
        "east": {"<dark>": 10, "bright": 20},
        "west": {"<dark>": 10, "bright": 0},
    }
    assert sum(sum(own.values()) for own in said["by_split"].values()) == 40
    tree = read(file)
    assert len(dots(tree)) == 80  # by class, and by source
    tables = [words(t) for t in tree.iter("table")]
    bluer = next(t for t in tables if "channel 3" in t)
    assert "west" in bluer
    assert any("10" in t and "<dark>" in t for t in tables)
    assert len(list(tree.iter("img"))) == 2 * overviewing.EXAMPLES
    captions = [words(c) for c in tree.iter("figcaption")]
    assert any(re.search(r"<dark>: 20 cells, median \d+ px", c) for c in captions)  # sizes


def test_the_folder_that_one_is_in_has_its_name(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    found = patches.of_folder(".")
    assert overviewing.request_folder_overview(".", tmp_path / "o.html", found).name == folder.name


def test_all_classes_stand_over_one_axis(folder, tmp_path):
    file = tmp_path / "o.html"
    assert cli.main(["overview", str(folder), "-o", str(file), "--no-pictures"]) == 0
    tree = read(file)
    assert not list(tree.iter("img"))
    ends = {}
    for figure in tree.iter("figure"):
        kind = words(figure.find("figcaption"))
        texts = [t.text for t in figure.iter(f"{SVG}text")]
        if "median" in kind:
            ends.setdefault("px" in kind, []).append(tuple(texts))
    assert {len(pairs) for pairs in ends.values()} == {2}
    assert all(len(set(pairs)) == 1 for pairs in ends.values())


def test_of_a_project(project, tmp_path):
    file = tmp_path / "o.html"
    said = run_job(overviewing.write_overview(overviewing.request_overview(project, file)))
    n = sum(c.is_label for key in project.images for c in project.cells.of_image(key))
    assert said["cells"] == n
    assert sum(said["by_split"]["val"].values()) < n
    tree = read(file)
    assert len(dots(tree)) == n  # one source: by class alone
    counted = sum(
        int(re.search(r"(\d+) cells, median", words(c)).group(1))
        for c in tree.iter("figcaption")
        if words(c).endswith("px")
    )
    assert counted == n


def test_the_map_parts_what_looks_different(folder, tmp_path):
    """Dark and bright discs lie apart on it, though no model knows them."""
    file = tmp_path / "o.html"
    assert cli.main(["overview", str(folder), "-o", str(file), "--no-pictures"]) == 0
    figure = next(f for f in read(file).iter("figure") if words(f.find("figcaption")) == "by class")
    places = {}
    for dot in figure.iter(f"{SVG}circle"):
        if dot.get("r") == "3":
            place = (float(dot.get("cx")), float(dot.get("cy")))
            places.setdefault(dot.get("fill"), []).append(place)
    a, b = (np.array(some) for some in places.values())
    apart = np.linalg.norm(a.mean(axis=0) - b.mean(axis=0))
    assert apart > a.std(axis=0).max()


def test_without_labels_a_sentence(tmp_path):
    with (
        Project.create(tmp_path / "e", ["a", "b"]) as project,
        pytest.raises(CellalError, match="no labels"),
    ):
        overviewing.request_overview(project, tmp_path / "o.html")
