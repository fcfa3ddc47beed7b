"""The page of a measurement: whole, escaped, and with nothing to fetch."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from xml.etree import ElementTree

import numpy as np
import pytest

from napari_cellal.cli import main
from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Detections, Split
from napari_cellal.evaluate.curves import precision_curves
from napari_cellal.evaluate.drawing import histogram_svg
from napari_cellal.evaluate.html import Markup, element, share, table
from napari_cellal.evaluate.scatter import principal
from napari_cellal.io.planes import read_plane
from napari_cellal.io.samples.write import write_samples
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding, annotating, detecting, reporting, scoring

EVIL = "<script>alert(1)</script> & \"quoted\" 'name'"


@pytest.fixture
def project(tmp_path):
    """Two finished smears, known exactly; a class has a name that is no HTML."""
    write_samples(tmp_path / "smears", "smear", 2, 0, shape=(120, 160), cell_px=40)
    with Project.create(tmp_path / "p & <q>", ["RBC", "WBC", "Platelets"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([tmp_path / "smears"])))
        found, report = run_job(annotating.read_annotations([str(tmp_path / "smears")]))
        annotating.import_annotations(project, found, report, confirm=True, finished=True)
        project.set_split(list(project.images), Split.TEST)
        project.update_class(replace(project.classes[1], name=EVIL))
        yield project


def answers(project, *, drop=0, score=0.9, reclass=0):
    """Return a detector's answers: the labels, but for some."""
    request = scoring.request_score(project, model=detecting.CLASSICAL)
    found = {}
    for key in project.images:
        cells = project.cells.of_image(key)[drop:]
        classes = tuple(2 if n < reclass else c.class_id for n, c in enumerate(cells))
        boxes = tuple(c.box for c in cells)
        found[key] = Detections(key, boxes, (score,) * len(cells), classes, "m")
    return scoring.Answers(request, tuple(project.images), found, {}, {})


def write(project, asked, file, **options):
    request = reporting.request_report(project, file, asked, **options)
    said = run_job(reporting.write_report(request))
    return said, file.read_text(encoding="utf-8")


def parse(text):
    """Return the page as a tree; a page that is not well formed raises."""
    return ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))


def test_the_page_is_whole_escaped_and_fetches_nothing(project, tmp_path):
    said, text = write(project, [answers(project, drop=1)], tmp_path / "r.html")
    tree = parse(text)
    assert tree.find("body") is not None
    assert "<script" not in text
    assert EVIL in unescape("".join(tree.itertext()))
    assert len(tree.findall(".//{http://www.w3.org/2000/svg}image")) == 2  # of the worst images
    addresses = re.findall(r"(?:src|href)=\"([^\"]*)\"", text)
    assert addresses
    assert all(a.startswith("data:image/jpeg;base64,") for a in addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert said["bytes"] == len(text.encode())
    assert said["models"][0]["map50"] < 1  # measured against the labels of now
    n = sum(len(project.cells.of_image(key)) for key in project.images)
    assert said["cells"] == n


def test_the_data_are_shown(project, tmp_path):
    _, text = write(project, [answers(project, drop=1)], tmp_path / "r.html")
    tree = parse(text)
    n = sum(len(project.cells.of_image(key)) for key in project.images)
    dots = [c for c in tree.iter("{http://www.w3.org/2000/svg}circle") if c.get("r") == "3"]
    assert len(dots) == n  # one source: by class alone
    table = next(t for t in tree.iter("table") if "channel 3" in "".join(t.itertext()))
    row = ["".join(td.itertext()) for td in table.findall("tr")[1]]
    assert row[1] == str(n)
    means = []
    for key in project.images:
        pixels = read_plane(project.image_path(key), project.plane(key))
        for c in project.cells.of_image(key):
            y0, x0, y1, x1 = (round(v) for v in c.box)
            means.append(pixels[0, max(0, y0) : y1, max(0, x0) : x1].mean())
    assert float(row[2].split()[0]) == pytest.approx(np.median(means), rel=1e-3)


def test_the_axes_of_the_map_are_principal_components():
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.normal(0, 1, 200), rng.normal(0, 1, 200), np.full(200, 3.0)])
    rows[:, 1] = rows[:, 0] + 0.1 * rows[:, 1]
    places, (first, second) = principal(rows)
    assert first > 0.98
    assert first + second == pytest.approx(1)
    assert abs(np.corrcoef(places[:, 0], rows[:, 0])[0, 1]) > 0.99
    assert np.allclose(places, principal(rows)[0])
    assert principal(np.ones((1, 4)))[0].shape == (1, 2)
    same, shares = principal(np.ones((5, 4)))
    assert not same.any()
    assert shares == (0.0, 0.0)


def test_no_pictures_means_none(project, tmp_path):
    _, text = write(project, [answers(project, drop=1)], tmp_path / "r.html", pictures=False)
    assert "base64" not in text
    boxes = parse(text).findall(".//{http://www.w3.org/2000/svg}rect")
    assert len(boxes) > 4  # where cells are is still to be seen


def test_two_models_stand_side_by_side(project, tmp_path):
    good, bad = answers(project), answers(project, drop=2, reclass=1)
    said, text = write(project, [good, bad], tmp_path / "r.html")
    first, second = said["models"]
    assert first["map50"] > second["map50"]
    matrices = [t for t in parse(text).iter("table") if t.get("class") == "matrix"]
    assert len(matrices) == 2
    dashed = re.findall(r"<polyline[^>]*stroke-dasharray", text)
    assert dashed  # the second one's curves


def test_a_detector_and_a_classifier_do_not(project, tmp_path):
    boxes = answers(project)
    given = {c.cell_id: ((1, 0.9),) for c in project.cells.labels()}
    classes = scoring.Answers(
        scoring.ScoreRequest(scoring.PROPOSED, "test", given=given), (), None, given, {}
    )
    with pytest.raises(CellalError):
        reporting.request_report(project, tmp_path / "r.html", [boxes, classes])
    _, text = write(project, [classes], tmp_path / "c.html")  # the classifier's page
    wrong = sum(c.class_id != 1 for c in project.cells.labels())
    images = list(parse(text).iter("img"))
    assert len(images) == min(wrong, 24) > 0


def test_by_command(project, tmp_path, capsys):
    project.close()
    file = tmp_path / "out.html"
    assert main(["report", str(project.folder), "--model", "classical", "-o", str(file), "--json",
                 "--no-pictures"]) == 0  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert said["file"] == str(file)
    assert said["images"] == 2
    assert said["models"][0]["model"] == "classical"
    parse(file.read_text(encoding="utf-8"))
    assert main(["report", str(project.folder), "-o", str(tmp_path / "no" / "r.html"),
                 "--model", "classical"]) == 1  # fmt: skip
    assert main(["report", str(project.folder), "--model", "other", "-o", str(file)]) == 1


def test_the_curve_by_hand():
    a, b, c = (0, 0, 10, 10), (20, 20, 30, 30), (50, 50, 60, 70)
    found = [Detections("i", (a, c, b), (0.9, 0.8, 0.4), (1, 1, 1), "m")]
    curves = precision_curves(found, {"i": ([a, b], [1, 1])}, [1, 2], score=0.5)
    assert list(curves) == [1]  # no cell is of class 2
    assert np.array(curves[1].points) == pytest.approx(np.array([(0.5, 1), (0.5, 0.5), (1, 2 / 3)]))
    assert curves[1].at_score == (0.5, 0.5)
    nothing = precision_curves([], {"i": ([a], [1])}, [1])
    assert nothing[1].points == ()
    assert nothing[1].at_score is None


def test_pieces():
    assert table([EVIL], [[EVIL]]).text.count("&lt;script&gt;") == 2
    assert element("p", Markup("<b>x</b>"), "<").text == "<p><b>x</b>&lt;</p>"
    assert share(None) == "–"
    for values in ([], [3.0], [1.0, 2.0, 9.0]):
        svg = ElementTree.fromstring(histogram_svg(values, "red", "px").text)
        heights = [float(r.get("height")) for r in svg if r.tag.endswith("rect")]
        assert bool(heights) == bool(values)
