"""What speaks for a detector's class of a box lies in that box, not on its neighbours."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_shipped import nuclei

from napari_cellal import cli
from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.core.progress import run_job
from napari_cellal.detect.architectures import ARCHITECTURES, architecture
from napari_cellal.detect.explain import explain, show
from napari_cellal.detect.network import build_detector
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.settings import NetworkSettings, PredictSettings
from napari_cellal.detect.shipped import FOLDER, SHIPPED, shipped_record
from napari_cellal.detect.weights import load_model
from napari_cellal.io.store import Project
from napari_cellal.workflows import detecting, explainable, explaining

pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def shipped():
    return TorchDetector(*load_model(FOLDER), torch.device("cpu"))


def test_the_hottest_place_is_in_the_box_among_cells_of_its_class(shipped):
    hits, named = [], []
    for seed in (0, 1):
        pixels, boxes = nuclei(n=10, seed=seed)
        for box in boxes:
            found, shown = explain(shipped, pixels, box)
            y, x = np.unravel_index(found.heat.argmax(), found.heat.shape)
            x0, y0, x1, y1 = shown.box.tolist()
            # the edge of a nucleus speaks for it, and a map px has 16 of these
            hits.append(x0 - 4 <= x <= x1 + 4 and y0 - 4 <= y <= y1 + 4)
            named.append(shipped.record.class_names[found.class_index])
            assert found.heat.shape == tuple(shown.picture.shape[1:])
    assert np.mean(hits) >= 0.9
    assert set(named) == {"nucleus"}


def test_it_explains_the_answer_that_the_detector_gives(shipped):
    pixels, _ = nuclei(n=10)
    found = shipped.detect(pixels, image_id="a")
    sure = [k for k, score in enumerate(found.scores) if score > 0.8]
    assert sure
    for k in sure[:4]:
        said, _ = explain(shipped, pixels, found.boxes[k])
        assert shipped.record.class_ids[said.class_index] == found.class_ids[k]
        assert said.probabilities.max() == pytest.approx(found.scores[k], abs=0.15)


def test_what_is_shown_is_where_it_is_said_to_be(shipped):
    pixels, boxes = nuclei(n=6, seed=3)
    for box in boxes:
        shown = show(shipped, pixels, box)
        top, left, bottom, _ = shown.window
        assert 0 <= top <= box[0] < box[2] <= bottom <= pixels.shape[1]
        scale = shown.picture.shape[1] / (bottom - top)
        assert shown.box.tolist() == pytest.approx(
            [(v - o) * scale for v, o in zip((box[1], box[0], box[3], box[2]), (left, top) * 2,
                                             strict=True)], rel=0.05
        )  # fmt: skip
        x0, y0, x1, y1 = shown.box.round().int().tolist()
        inside = shown.picture[:, y0:y1, x0:x1].mean()
        assert inside > 1.5 * shown.picture.mean()


@pytest.mark.parametrize("family", ["faster_rcnn", "mask_rcnn", "fcos"])
def test_every_family_answers_about_one_box_as_about_all(family):
    name = next(n for n, a in ARCHITECTURES.items() if a.family == family)
    torch.manual_seed(0)
    shape = NetworkSettings(anchor_sizes=((14.0, 20.0), (40.0, 60.0)), norm="group")
    network = build_detector(name, 2, 3, shape, [0.5] * 2, [0.2] * 2).eval()
    picture, box = torch.rand(2, 96, 96), torch.tensor([20.0, 30, 50, 60])
    with torch.no_grad():
        scores, probabilities = network.classes_in(picture, box)
        assert scores.shape == probabilities.shape == (3,)
        assert scores.argmax() == probabilities.argmax()
        if family == "fcos":
            network.limit(PredictSettings(keep_score=0))
            every = network([picture])[0]
            for at in range(0, 20, 5):
                _, again = network.classes_in(picture, every["boxes"][at])
                share = again / again.sum()
                assert torch.allclose(share, every["probabilities"][at], atol=1e-3)
    record = replace(
        shipped_record(),
        architecture=name,
        class_ids=(1, 2, 3),
        class_names=("a", "b", "c"),
        settings={"network": shape.model_dump(mode="json")},
        normalization={
            "dtype": "float32", "low": [0] * 2, "high": [1] * 2, "mean": [0.5] * 2,
            "std": [0.2] * 2,
        },
    )  # fmt: skip
    detector = TorchDetector(record, network, torch.device("cpu"))
    found, _ = explain(detector, picture.numpy(), (30, 20, 60, 50), 2)
    assert found.class_index == 2
    assert found.channels.shape == (2,)
    assert np.isfinite(found.heat).all()


def test_every_network_has_the_map_that_is_asked():
    for name in ARCHITECTURES:
        arch = architecture(name)
        assert arch.strides.index(16) < len(arch.layers)


@pytest.fixture
def project(tmp_path):
    pixels, _ = nuclei(n=6)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    assert cli.main(["new", str(tmp_path / "p"), "--classes", "nucleus,other"]) == 0
    assert cli.main(["add", str(tmp_path / "p"), str(tmp_path / "a.png")]) == 0
    assert cli.main(["detect", str(tmp_path / "p"), "--model", "shipped"]) == 0
    return tmp_path / "p.cellal"


def test_a_cell_is_explained_by_command_with_the_detector_in_use(project, tmp_path, capsys):
    with Project.open(project) as opened:
        cell = next(iter(opened.cells.of_image(next(iter(opened.images)))))
        assert list(explainable.models_to_ask(opened)) == [SHIPPED]
        request = explaining.request_explanation(opened, FOLDER, cell.cell_id)
    found = run_job(explaining.explain(request))
    top, _, _, right = found.window
    assert top < cell.box[0]
    assert right > cell.box[3]
    assert not found.neighbours
    capsys.readouterr()
    picture = tmp_path / "why.png"
    command = ["explain", str(project), "--cell", cell.cell_id, "-o", str(picture), "--json"]
    assert cli.main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["class"] == "nucleus"
    assert said["model"] == SHIPPED
    assert 0.2 < said["hottest"][0] < 0.8
    assert Image.open(picture).width > 300


@pytest.mark.parametrize(
    ("composite", "names"),
    [(None, ("DNA", "ER", "AGP")), ({"kind": "pca"}, ("red", "green", "blue"))],
)
def test_the_channels_of_a_composite_are_its_colours(composite, names):
    """Even where three channels were made into as many colours."""
    record = replace(
        shipped_record(), channels=("DNA", "ER", "AGP"), settings={"composite": composite}
    )
    picture = np.zeros((3, 4, 4), np.float32)
    found = explaining.Explained(
        record, "a", {"a": 1.0}, picture, picture[0], np.zeros(3, np.float32), "grad-cam"
    )
    assert found.channel_names == names


def test_what_cannot_be_explained_is_said(project):
    with Project.open(project) as opened:
        with pytest.raises(ModelError, match="no classes"):
            explainable.find_model(opened, detecting.CLASSICAL)
        cell = next(iter(opened.cells.of_image(next(iter(opened.images)))))
        request = explaining.request_explanation(opened, FOLDER, cell.cell_id, class_name="nothing")
    with pytest.raises(CellalError, match="does not know"):
        run_job(explaining.explain(request))
    alone = replace(request, class_name="", patch=replace(request.patch, box=None))
    with pytest.raises(CellalError, match="box"):
        run_job(explaining.explain(alone))
