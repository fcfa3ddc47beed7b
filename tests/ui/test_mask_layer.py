"""The Labels layer of masks: comes with the first mask, follows every edit, lies on the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_cellal.core.history import edit_of
from napari_cellal.core.masks import mask_of
from napari_cellal.core.records import Cell, Review


def disc(y0: int, x0: int, side: int = 21):
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return mask_of(y**2 + x**2 <= (side / 2) ** 2, y0, x0)


def test_masks_are_shown_and_follow(sit_down, folder) -> None:
    person = sit_down(folder)
    session, workspace = person.session, person.workspace
    image_id, other = list(session.project.images)[:2]
    session.show_image(image_id)
    masks = workspace.masks
    person.wait(lambda: not masks._timer.isActive())
    assert masks.layer is None
    active = person.viewer.layers.selection.active

    mask = disc(50, 60)
    row = Cell("m", image_id, mask.box, 1, review=Review.CONFIRMED, mask=mask)
    plain = Cell("p", image_id, (5.0, 5.0, 20.0, 20.0), 1, review=Review.CONFIRMED)
    session.do(edit_of("put", [(None, row), (None, plain)]))
    person.wait(lambda: masks.layer is not None)
    assert person.viewer.layers.selection.active is active
    layers = list(person.viewer.layers)
    assert layers.index(masks.layer) < layers.index(workspace.boxes.layer)
    # exactly on the image's pixels, and on no others
    places = np.argwhere(masks.layer.data)
    world = np.array([masks.layer.data_to_world(p) for p in places])
    there = np.argwhere(mask.within((0, 0, *session.image.shape[1:])))
    assert np.array_equal(world, there)
    assert workspace.keys.are_ours()

    def value(y: int, x: int) -> int:
        return int(masks.layer.data[y, x])

    before = value(60, 70)
    assert before
    session.select(["m"])
    session.give_class(2)
    person.wait(lambda: value(60, 70) != before)
    session.undo()
    person.wait(lambda: value(60, 70) == before)
    color = session.project.classes[1].color
    shown = np.asarray(masks.layer.colormap.color_dict[before][:3]) * 255
    assert np.allclose(shown, [int(color[k : k + 2], 16) for k in (1, 3, 5)], atol=1)
    session.do(edit_of("move", [(row, replace(row, mask=mask.moved(0, 100)))]))
    person.wait(lambda: not value(60, 70) and value(60, 170))

    masks.layer.visible = False
    session.show_image(other)
    person.wait(lambda: not masks._timer.isActive())
    assert masks.layer is None
    session.show_image(image_id)
    person.wait(lambda: masks.layer is not None)
    assert not masks.layer.visible  # as the person left it
    session.undo()
    session.undo()
    person.wait(lambda: masks.layer is None)
