"""Images too large to be read whole, and images with too many boxes for one layer."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.history import edit_of, finish
from napari_cellal.core.progress import run_job
from napari_cellal.core.records import Cell
from napari_cellal.io.store import Project
from napari_cellal.workflows import adding

SIDE, STEP = 2048, 32


@pytest.fixture
def slide(tmp_path, monkeypatch):
    """A project of one image that counts as large, with 4,096 boxes that count as a crowd."""
    import zarr

    monkeypatch.setattr("napari_cellal.io.planes._LARGE_PLANE", SIDE * SIDE - 1)
    monkeypatch.setattr("napari_cellal.io.store.cells.CROWDED", 1000)
    full = np.random.default_rng(0).integers(0, 4000, (2, SIDE, SIDE)).astype(np.uint16)
    group = zarr.open_group(tmp_path / "slide.ome.zarr", mode="w", zarr_format=3)
    for k in range(3):
        part = full[:, :: 2**k, :: 2**k]
        group.create_array(str(k), data=part, chunks=(1, 256, 256))
    scales = [[{"type": "scale", "scale": [1, 2**k, 2**k]}] for k in range(3)]
    datasets = [{"path": str(k), "coordinateTransformations": scales[k]} for k in range(3)]
    axes = [{"name": "c", "type": "channel"}, *({"name": a, "type": "space"} for a in "yx")]
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": "DNA", "color": "00FF00"}, {"label": "ER"}]},
    }
    with Project.create(tmp_path / "p", ["A", "B"]) as project:
        adding.add_looked(project, run_job(adding.look_at_images([tmp_path / "slide.ome.zarr"])))
        (image_id,) = project.images
        places = [(y, x) for y in range(0, SIDE, STEP) for x in range(0, SIDE, STEP)]
        cells = [
            Cell(f"c{k}", image_id, (y + 4.0, x + 4.0, y + 28.0, x + 28.0))
            for k, (y, x) in enumerate(places)
        ]
        finish(project.history.do_run("put", (edit_of("", [(None, c)]) for c in cells)))
        return project.folder


def look_at(person, y: float, x: float, zoom: float = 2.0) -> None:
    person.viewer.scene.camera.zoom = zoom
    person.viewer.scene.camera.center = (y, x)


def in_view(person) -> set[str]:
    session = person.session
    found = session.project.cells.in_view(session.image_id, person.workspace.current_view())
    return {c.cell_id for c in found}


def test_boxes_follow_the_view_and_can_be_corrected_there(sit_down, slide):
    person = sit_down(slide)
    images, boxes = person.workspace.images, person.boxes
    person.wait(lambda: len(images.layers) == 2)
    assert all(layer.multiscale for layer in images.layers)
    overview = person.workspace.overview
    person.wait(lambda: overview.layer is not None and overview.layer.visible)
    assert boxes.ids() == []
    for y, x in ((400, 500), (1700, 1200)):
        look_at(person, y, x)
        person.wait(lambda: in_view(person) and in_view(person) <= set(boxes.ids()))
        assert len(boxes.ids()) < 600
        assert not overview.layer.visible
    cell = next(c for c in person.session.project.cells.rows(in_view(person)).values())
    person.click((cell.box[0] + cell.box[2]) / 2, (cell.box[1] + cell.box[3]) / 2)
    (chosen,) = person.session.selection
    person.press("2")
    assert person.session.project.cells.get(chosen).class_id == 2
    person.press("Ctrl+Z")
    assert person.session.project.cells.get(chosen).class_id is None
    look_at(person, 1000, 1000, 0.2)
    person.wait(lambda: overview.layer.visible)


def test_tab_goes_through_a_crowd_from_top_to_bottom(sit_down, slide):
    person = sit_down(slide)
    seen = []
    for _ in range(3):
        person.press("Tab")
        (key,) = person.session.selection
        assert key in person.boxes.ids()
        seen.append(key)
    assert seen == ["c0", "c1", "c2"]
    person.press("Shift+Tab")
    assert person.session.selection == ("c1",)


def test_the_cell_in_hand_is_cut_out_of_a_large_image(sit_down, slide):
    person = sit_down(slide, "Review")
    person.wait(lambda: len(person.workspace.images.layers) == 2)
    crop = person.workspace.dock("Review").crop
    seen = []
    for _ in range(2):
        person.press("Tab")
        person.wait(lambda: not crop.composite.pixmap().isNull())
        assert crop.channels.names == ["DNA", "ER"]
        seen.append(crop.composite.pixmap().toImage())
    assert seen[0] != seen[1]
    person.press("C")
    assert [layer.visible for layer in person.workspace.images.layers] == [True, False]
