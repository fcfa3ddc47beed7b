"""Images that are searched in parts: each cell found once, as if they were searched whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage as ndi

from napari_cellal.core.geometry import match_boxes
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.core.records import Detections
from napari_cellal.detect.jobs import detect_images
from napari_cellal.detect.large import detect_in_parts, parts_of, sample_of
from napari_cellal.detect.predict import TorchDetector
from napari_cellal.detect.requests import ImageRequest
from napari_cellal.detect.shipped import FOLDER
from napari_cellal.detect.tiles import Found
from napari_cellal.detect.weights import load_model
from napari_cellal.io import planes
from napari_cellal.workflows.detecting import DetectRequest, detections_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellal.core.geometry import Box

START = Progress(0, 1, "a")


class Squares:
    """Finds bright squares; their edges waver by up to ``jitter`` px with every look."""

    model_id = "squares"
    margin_px = 30

    def __init__(self, jitter: float = 0) -> None:
        self.seen: list[tuple[int, int]] = []
        self._jitter, self._rng = jitter, np.random.default_rng(0)

    def look_at(self, sample: NDArray[Any], *, image_id: str) -> None:
        self.sample = sample

    def memory(self, image_id: str) -> dict[str, Any]:
        return {}

    def recall(self, image_id: str, memory: Mapping[str, Any]) -> None:
        pass

    def detect(self, pixels: NDArray[Any], *, image_id: str, rgb: bool) -> Detections:
        self.seen.append(pixels.shape[1:])
        found = ndi.find_objects(ndi.label(pixels[0])[0])
        boxes = [(float(y.start), float(x.start), float(y.stop), float(x.stop)) for y, x in found]
        boxes = [tuple(np.add(b, self._rng.uniform(-1, 1, 4) * self._jitter)) for b in boxes]
        scores = tuple(self._rng.uniform(0.5, 1, len(boxes)).tolist())
        probabilities = tuple(((1, s), (2, 1 - s)) for s in scores)
        ids = (1,) * len(boxes)
        return Detections(image_id, tuple(boxes), scores, ids, self.model_id, probabilities)


def field(shape: tuple[int, int], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return [1, Y, X] with squares of 10 to 24 px that do not touch, and their boxes."""
    rng = np.random.default_rng(seed)
    image = np.zeros((1, *shape), np.uint8)
    boxes = []
    while len(boxes) < n:
        side = int(rng.integers(10, 25))
        y, x = rng.integers(0, shape[0] - side), rng.integers(0, shape[1] - side)
        if image[0, max(0, y - 3) : y + side + 3, max(0, x - 3) : x + side + 3].any():
            continue
        image[0, y : y + side, x : x + side] = 1
        boxes.append((y, x, y + side, x + side))
    return image, np.array(boxes, float)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("jitter", [0, 1])
@pytest.mark.parametrize("side", [100, 170, 1000])
def test_every_cell_is_found_once(seed: int, jitter: float, side: int) -> None:
    image, truth = field((410, 530), 90, seed)
    detector = Squares(jitter)

    def read(window: tuple[int, int, int, int]) -> np.ndarray:
        y0, x0, y1, x1 = window
        return image[:, y0:y1, x0:x1]

    found = run_job(
        detect_in_parts(
            detector, read, (410, 530), image_id="a", rgb=False, progress=START, side=side
        )
    )
    assert len(found) == 90
    assert len(match_boxes(found.boxes, truth, 0.5)) == 90
    if not jitter:
        assert sorted(found.boxes) == sorted(map(tuple, truth.tolist()))
    assert list(found.scores) == sorted(found.scores, reverse=True)
    assert [p[0][1] for p in found.probabilities] == list(found.scores)
    assert max(max(s) for s in detector.seen) <= side + 60


def search(image: NDArray[Any], detector: Squares, view: Box | None) -> Detections:
    job = detect_in_parts(
        detector,
        lambda w: image[:, w[0] : w[2], w[1] : w[3]],
        (410, 530),
        image_id="a",
        rgb=False,
        progress=START,
        side=100,
        view=view,
    )
    return run_job(job)


@pytest.mark.parametrize("view", [(110, 120, 190, 230), (0, 0, 60, 60), (150, 40, 330, 320)])
def test_of_a_view_only_the_parts_are_searched(view: Box) -> None:
    image, _ = field((410, 530), 90, 0)
    everywhere, there = Squares(), Squares()

    def inside(found: Detections) -> list[Box]:
        middles = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in found.boxes]
        return sorted(
            box
            for box, (y, x) in zip(found.boxes, middles, strict=True)
            if view[0] <= y < view[2] and view[1] <= x < view[3]
        )

    wanted = inside(search(image, everywhere, None))
    assert wanted
    assert inside(search(image, there, view)) == wanted
    assert len(there.seen) < len(everywhere.seen) - 12


def test_a_view_beside_the_image_holds_nothing() -> None:
    image, _ = field((410, 530), 90, 0)
    assert len(search(image, Squares(), (500, 0, 600, 100))) == 0


@pytest.mark.parametrize("shape", [(3, 5), (150, 400), (1000, 1300)])
def test_the_first_look_goes_all_over_the_image(shape: tuple[int, int]) -> None:
    image = np.arange(2 * shape[0] * shape[1]).reshape(2, *shape)
    sample = sample_of(lambda w: image[:, w[0] : w[2], w[1] : w[3]], shape)
    assert len(sample) == 2
    assert sample[0].size <= 36 * 192 * 192
    assert {0, image[0].max()} <= set(sample[0].ravel().tolist())
    if max(shape) <= 192:
        assert np.array_equal(sample, image)


def test_all_parts_are_scaled_alike() -> None:
    """Parts without cells, with dim ones and with bright ones of a picture of another type."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, (1, 300, 1500)).clip(0).astype(np.uint16)
    image[:, 100:130, 700:730] += 400
    image[:, 200:240, 1200:1240] += 4000
    record, network = load_model(FOLDER)
    detector = TorchDetector(record, network, torch.device("cpu"))
    units = []

    def kept(unit: NDArray[np.float32], image_id: str) -> tuple[Found, float]:
        units.append(unit)
        none = np.zeros(0, np.float32)
        return Found(none.reshape(0, 4), none, none.astype(int), none.reshape(0, 4)), 1.0

    detector._find = kept  # type: ignore[method-assign]
    job = detect_in_parts(
        detector,
        lambda w: image[:, w[0] : w[2], w[1] : w[3]],
        (300, 1500),
        image_id="a",
        rgb=False,
        progress=START,
        side=300,
    )
    run_job(job)
    units = units[-5:]  # before them some are looked at for the size of the cells
    empty, dim, bright = (float(units[k].max()) for k in (0, 1, 3))
    assert empty < 0.05 < dim < 0.3 < bright
    detector.detect(image[:, :, :300], image_id="b")
    assert units[-1].max() == 1  # an image that is seen whole has a range of its own


@pytest.mark.parametrize(("shape", "side"), [((1, 1), 10), ((10, 11), 10), ((99, 7), 10)])
def test_parts_cover_the_image_without_overlap(shape: tuple[int, int], side: int) -> None:
    times = np.zeros(shape, int)
    for part in parts_of(shape, side, 4):
        y0, x0, y1, x1 = part.core
        times[y0:y1, x0:x1] += 1
        assert max(y1 - y0, x1 - x0) <= side
        assert part.window[0] <= y0
        assert part.window[3] >= x1
    assert (times == 1).all()


def test_a_large_file_is_searched_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yy, xx = np.mgrid[:700, :900]
    plane = np.random.default_rng(0).normal(40, 3, (700, 900))
    rng = np.random.default_rng(1)
    for y in range(40, 700, 70):
        for x in range(40, 900, 70):
            cy, cx = y + rng.integers(-6, 7), x + rng.integers(-6, 7)
            plane[np.hypot(yy - cy, xx - cx) < rng.integers(11, 15)] += 90
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, plane.clip(0, 255).astype(np.uint8), tile=(128, 128), compression="zlib")
    request = ImageRequest("a", str(path))
    whole = run_job(detect_images([request], "classical"))["a"]
    monkeypatch.setattr(planes, "_LARGE_PLANE", 100_000)
    monkeypatch.setattr("napari_cellal.detect.large.PART_PX", 300)
    monkeypatch.setattr(planes, "read_pixels", None)  # no way to read it all
    words: list[str] = []
    parts = run_job(detect_images([request], "classical"), lambda p: words.append(p.message))["a"]
    assert any("part 2 of" in w for w in words)
    assert len(whole) > 100
    assert abs(len(parts) - len(whole)) <= 2
    assert len(match_boxes(parts.boxes, whole.boxes, 0.7)) >= len(whole) - 2

    words.clear()
    view = DetectRequest((request,), "classical", "classical", view=(0.0, 0.0, 200.0, 200.0))
    run_job(detections_of(view), lambda p: words.append(p.message))
    assert any("part 1 of 1," in w for w in words)
