"""How far scans are, kept in the project with the cells that they found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_cellal.core.history import edit_of
from napari_cellal.core.masks import Mask
from napari_cellal.core.records import Cell, Detections, ImageRecord
from napari_cellal.io.store import Project
from napari_cellal.io.store.scans import ScanState, pack_detections, unpack_detections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IDS = ("a", "b", "c")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p") as project:
        project.add_images(
            ImageRecord(key, f"{key}.png", (1, 50, 50), "uint8", ("gray",)) for key in IDS
        )
        yield project


def states(project: Project, scan_id: str) -> dict[str, str]:
    return {image.image_id: image.state.value for image in project.scans.images(scan_id)}


def test_a_scan_is_there_after_a_restart(project: Project) -> None:
    scan_id = project.scans.begin({"model": "m"}, [["a", "b"], ["c"]])
    with project.scans.together():
        project.scans.note_done(scan_id, {"a": 4})
        project.scans.note_failed(scan_id, "c", "It is empty.")
    project.close()
    with Project.open(project.folder) as again:
        (scan,) = again.scans.all()
        assert (scan.scan_id, scan.settings, scan.ended_at) == (scan_id, {"model": "m"}, None)
        images = again.scans.images(scan_id)
        assert [(i.image_id, i.lot, i.state, i.cells, i.error) for i in images] == [
            ("a", 0, ScanState.DONE, 4, ""),
            ("b", 0, ScanState.WAITING, 0, ""),
            ("c", 1, ScanState.FAILED, 0, "It is empty."),
        ]


def test_cells_and_state_are_written_together_or_not_at_all(project: Project) -> None:
    scan_id = project.scans.begin({}, [["a"]])
    cell = Cell("c1", "a", (1.0, 2.0, 9.0, 8.0))

    def broken() -> None:
        project.scans.note_done(scan_id, {"a": 1})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.history.do(edit_of("scanned", [(None, cell)]), broken)
    assert states(project, scan_id) == {"a": "waiting"}
    assert project.cells.of_image("a") == []
    note = project.scans.note_done
    project.history.do(edit_of("scanned", [(None, cell)]), lambda: note(scan_id, {"a": 1}))
    assert states(project, scan_id) == {"a": "done"}
    assert project.cells.of_image("a") == [cell]


def test_parts_stay_until_their_image_is_done(project: Project) -> None:
    scan_id = project.scans.begin({}, [["a"], ["b"]])
    with project.scans.together():
        project.scans.note_part(scan_id, "a", "part", 1, {"x": 0.1})
        project.scans.note_part(scan_id, "a", "part", 0, [1, None])
        project.scans.note_part(scan_id, "b", "part", 0, [])
    assert project.scans.parts(scan_id, "a", "part") == {0: [1, None], 1: {"x": 0.1}}
    assert project.scans.parts(scan_id, "a", "look") == {}
    with project.scans.together():
        project.scans.note_done(scan_id, {"a": 0})
    assert project.scans.parts(scan_id, "a", "part") == {}
    assert project.scans.parts(scan_id, "b", "part") == {0: []}


def test_images_can_join_fail_and_be_tried_again(project: Project) -> None:
    scan_id = project.scans.begin({}, [["a"]])
    with project.scans.together():
        project.scans.note_failed(scan_id, "a", "gone")
        project.scans.note_ended(scan_id)
    assert project.scans.all()[0].ended_at
    project.scans.extend(scan_id, [["b"], ["c"]])
    assert project.scans.all()[0].ended_at is None
    assert [i.lot for i in project.scans.images(scan_id)] == [0, 1, 2]
    assert states(project, scan_id)["a"] == "failed"
    project.scans.retry(scan_id)
    assert set(states(project, scan_id).values()) == {"waiting"}


def test_an_image_that_is_removed_leaves_its_scan(project: Project) -> None:
    scan_id = project.scans.begin({}, [["a", "b"]])
    with project.scans.together():
        project.scans.note_part(scan_id, "a", "part", 0, [])
    project.remove_images(["a"])
    assert states(project, scan_id) == {"b": "waiting"}
    project.scans.forget(scan_id)
    assert project.scans.all() == []


def test_detections_come_back_with_every_digit() -> None:
    found = Detections(
        "a",
        ((0.1, 1 / 3, 20.7, 1e-17), (1.0, 2.0, 3.0, 4.0)),
        (2 / 3, 0.1),
        (1, None),
        "m",
        (((1, 0.1), (2, 0.9)), ()),
        (None, Mask(1, 2, 3, 4, "abc")),
    )
    assert unpack_detections(pack_detections(found)) == found
