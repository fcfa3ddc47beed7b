from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.errors import ImageError, ProjectError
from napari_cellal.core.masks import mask_of
from napari_cellal.core.progress import Progress, run_job
from napari_cellal.core.records import Plane
from napari_cellal.features import cache
from napari_cellal.features import measure as measure_module
from napari_cellal.features.crops import crop, resample
from napari_cellal.features.measure import FEATURE_SETS, Quick, measure_cells, measurement_names
from napari_cellal.features.table import (
    FeatureTable,
    MeasureRequest,
    read_arrays,
    write_arrays,
)

RGB = ("red", "green", "blue")


def disc_image(centers, radius=15, size=(160, 200), seed=0, dtype=np.uint8):
    """Dark discs on a bright, slightly noisy RGB background."""
    rng = np.random.default_rng(seed)
    image = np.full((3, *size), 200.0) + rng.normal(0, 3, (3, *size))
    y, x = np.mgrid[: size[0], : size[1]]
    for cy, cx in centers:
        inside = (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
        image[:, inside] = np.array([150, 60, 90])[:, None] + rng.normal(0, 3, (3, inside.sum()))
    return np.clip(image, 0, 255).astype(dtype)


def box_around(cy, cx, radius=15, margin=2):
    r = radius + margin
    return (cy - r, cx - r, cy + r + 1, cx + r + 1)


def column(names, values, name):
    return values[:, names.index(name)]


def test_crop_takes_the_pixels_of_the_box():
    pixels = np.arange(2 * 10 * 12).reshape(2, 10, 12)
    np.testing.assert_array_equal(crop(pixels, (2, 3, 6, 8)), pixels[:, 2:6, 3:8])


def test_crop_beyond_the_border_is_the_mirror_image():
    pixels = np.arange(36).reshape(1, 6, 6)
    cut = crop(pixels, (-2, 0, 3, 6))
    np.testing.assert_array_equal(cut[0], pixels[0][[2, 1, 0, 1, 2]])


@pytest.mark.parametrize("box", [(50, 50, 60, 60), (-90, 2, -80, 4), (3, 3, 3, 3), (5, 5, 2, 2)])
def test_crop_is_square_and_of_the_size_asked_whatever_the_box(box):
    cut = crop(np.ones((3, 9, 7), np.uint16), box, size_px=16)
    assert cut.shape == (3, 16, 16)
    assert (cut == 1).all()


def test_square_crop_does_not_distort():
    y, x = np.mgrid[:100, :100]
    disc = ((y - 50) ** 2 + (x - 50) ** 2 <= 20**2).astype(np.float32)[None]
    mask = crop(disc, (30, 40, 71, 61), size_px=64)[0] > 0.5  # a box twice as high as wide
    ys, xs = np.nonzero(mask)
    assert abs(np.ptp(ys) - np.ptp(xs)) <= 1


def test_resample_keeps_the_mean_and_a_constant():
    rng = np.random.default_rng(0)
    noise = rng.random((1, 64, 64)).astype(np.float32)
    assert abs(resample(noise, 16, 16).mean() - noise.mean()) < 0.01
    np.testing.assert_allclose(resample(np.full((1, 7, 9), 3.0, np.float32), 20, 5), 3.0, rtol=1e-5)


def test_a_disc_is_measured_as_a_disc():
    pixels = disc_image([(80, 100)])
    names, values = measure_cells(pixels, [box_around(80, 100)], rgb=True, channels=RGB)
    area = np.pi * 15**2
    assert column(names, values, "AreaShape_Area")[0] == pytest.approx(area, rel=0.05)
    assert column(names, values, "AreaShape_Perimeter")[0] == pytest.approx(
        2 * np.pi * 15, rel=0.06
    )
    assert column(names, values, "AreaShape_MajorAxisLength")[0] == pytest.approx(30, rel=0.05)
    assert column(names, values, "AreaShape_FormFactor")[0] > 0.9
    assert column(names, values, "AreaShape_Solidity")[0] > 0.93
    assert column(names, values, "AreaShape_Eccentricity")[0] < 0.3
    assert column(names, values, "Intensity_MeanIntensity_green")[0] < -1
    # red is stained least, so white-balanced red over green is well above 1
    assert column(names, values, "Color_RatioRedGreen")[0] > 2


def test_dark_and_bright_cells_have_the_same_outline():
    pixels = disc_image([(80, 100)])
    shape = slice(0, 13)
    _, dark = measure_cells(pixels, [box_around(80, 100)], rgb=True, channels=RGB)
    _, bright = measure_cells(255 - pixels, [box_around(80, 100)], rgb=True, channels=RGB)
    np.testing.assert_allclose(dark[:, shape], bright[:, shape], rtol=0.03, atol=0.02)


def test_a_pale_centre_belongs_to_the_cell():
    pixels = disc_image([(80, 100)])
    pixels[:, 76:85, 96:105] = 200
    names, values = measure_cells(pixels, [box_around(80, 100)], rgb=True, channels=RGB)
    assert column(names, values, "AreaShape_Area")[0] == pytest.approx(np.pi * 15**2, rel=0.05)
    assert column(names, values, "AreaShape_HoleFraction")[0] == pytest.approx(81 / 707, rel=0.3)


def test_shifted_image_gives_the_same_values():
    pixels = disc_image([(60, 70)])
    shifted = np.roll(pixels, (20, 31), axis=(1, 2))
    _, a = measure_cells(pixels, [box_around(60, 70)], rgb=True, channels=RGB)
    _, b = measure_cells(shifted, [box_around(80, 101)], rgb=True, channels=RGB)
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "change", [lambda p: p.astype(np.uint16) * 16, lambda p: p.astype(np.float32) / 255]
)
def test_bit_depth_does_not_matter(change):
    pixels = disc_image([(60, 70), (100, 140)])
    boxes = [box_around(60, 70), box_around(100, 140)]
    _names, a = measure_cells(pixels, boxes, rgb=True, channels=RGB)
    _, b = measure_cells(change(pixels), boxes, rgb=True, channels=RGB)
    np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05)


def test_illumination_gain_and_offset_do_not_matter_for_brightness():
    pixels = disc_image([(60, 70)]).astype(np.float32)
    box = [box_around(60, 70)]
    _names, a = measure_cells(pixels, box, rgb=False, channels=RGB)
    _, b = measure_cells(pixels * 3 + 500, box, rgb=False, channels=RGB)
    np.testing.assert_allclose(a, b, rtol=0.01, atol=0.01)


NASTY_BOXES = np.array(
    [
        [10, 10, 30, 30],
        [10, 10, 10, 10],
        [30, 30, 10, 10],
        [-20, -20, 5, 5],
        [-50, -50, -10, -10],
        [500, 500, 600, 600],
        [0, 0, 40, 50],
        [5.2, 5.7, 6.1, 6.3],
        [np.nan, 0, 5, 5],
        [0, 0, np.inf, 5],
        [3, 0, 4, 50],
    ]
)


def nasty_images():
    rng = np.random.default_rng(1)
    noise = rng.normal(100, 20, (3, 40, 50))
    holed = noise.copy()
    holed[:, 5:20] = np.nan
    holed[1] = np.nan
    huge = noise * 1e300
    infinite = noise.copy()
    infinite[0, 0] = np.inf
    return {
        "zeros": np.zeros((3, 40, 50), np.uint8),
        "constant": np.full((3, 40, 50), 65535, np.uint16),
        "noise": noise,
        "nan": holed,
        "all nan": np.full((3, 40, 50), np.nan),
        "huge": huge,
        "infinite": infinite,
        "one pixel": np.ones((3, 1, 1), np.uint8),
        "one row": rng.integers(0, 255, (3, 1, 50)).astype(np.uint8),
        "bool": noise > 100,
        "signed": (noise - 100).astype(np.int16),
        "no pixels": np.zeros((3, 0, 0), np.uint8),
    }


@pytest.mark.parametrize("name", list(nasty_images()))
@pytest.mark.parametrize("rgb", [True, False])
@pytest.mark.filterwarnings("error")
def test_values_are_finite_whatever_comes(name, rgb):
    pixels = nasty_images()[name]
    names, values = measure_cells(pixels, NASTY_BOXES, rgb=rgb, channels=RGB)
    assert values.shape == (len(NASTY_BOXES), len(names))
    assert values.dtype == np.float32
    assert np.isfinite(values).all()


def test_no_boxes_give_an_empty_table_with_its_names():
    names, values = measure_cells(np.zeros((2, 5, 5)), [], rgb=False, channels=("a", "b"))
    assert values.shape == (0, len(names))
    assert names == measurement_names(("a", "b"), rgb=False)


@pytest.mark.parametrize("rgb", [True, False])
def test_every_feature_set_gives_as_many_values_as_names(rgb):
    names = measurement_names(RGB, rgb=rgb)
    assert len(set(names)) == len(names)
    assert ("Color_MeanSaturation" in names) is rgb
    for feature_set in FEATURE_SETS.values():
        assert set(feature_set.names(RGB, True)) <= set(measurement_names(RGB, rgb=True)) or not rgb


def test_names_must_fit_the_channels():
    with pytest.raises(ValueError, match="channel names"):
        measure_cells(np.zeros((2, 5, 5)), [], rgb=False, channels=("a",))


@pytest.fixture
def request_of(monkeypatch):
    """Requests on a small image whose reading and measuring are counted."""
    pixels = disc_image([(40, 40), (40, 100), (100, 60)])
    seen = {"read": 0, "measured": 0}

    def read(request):
        if request.path == "broken.png":
            raise ImageError("broken.png cannot be read.")
        seen["read"] += 1
        return pixels

    def measure(image, boxes, **options):
        seen["measured"] += len(boxes)
        return measure_cells(image, boxes, **options)

    monkeypatch.setattr(cache, "read_pixels", read)
    monkeypatch.setattr(cache, "is_large", lambda request: False)
    monkeypatch.setattr(measure_module, "measure_cells", measure)

    def make(cells, fingerprint="f", image_id="image1", path="smear.png", masks=()):
        return MeasureRequest(
            image_id, path, Plane(), True, RGB, fingerprint,
            tuple(cells), tuple(cells.values()), masks,
        )  # fmt: skip

    return make, seen


def test_only_what_changed_is_measured_again(request_of, tmp_path):
    make, seen = request_of
    cells = {"a": box_around(40, 40), "b": box_around(40, 100)}
    first = run_job(cache.measure_images([make(cells)], tmp_path))
    assert seen == {"read": 1, "measured": 2}
    again = run_job(cache.measure_images([make(cells)], tmp_path))
    assert seen == {"read": 1, "measured": 2}
    np.testing.assert_array_equal(first.values, again.values)

    moved = cells | {"b": box_around(41, 100), "c": box_around(100, 60)}
    table = run_job(cache.measure_images([make(moved)], tmp_path))
    assert seen["measured"] == 4
    assert table.cell_ids == ("a", "b", "c")
    np.testing.assert_array_equal(table.values[0], first.values[0])
    assert not np.array_equal(table.values[1], first.values[1])

    run_job(cache.measure_images([make(moved, fingerprint="g")], tmp_path))
    assert seen["measured"] == 7


def disc_mask(cy, cx, radius):
    y, x = np.mgrid[: cy + radius + 1, : cx + radius + 1]
    return mask_of((y - cy) ** 2 + (x - cx) ** 2 <= radius**2)


def test_a_cell_with_a_mask_is_measured_on_it():
    image = disc_image([(40, 40), (40, 100)])
    boxes = [box_around(40, 40), box_around(40, 100)]
    mask = disc_mask(40, 40, 9)  # within the disc that the threshold finds
    names, values = measure_cells(image, boxes, rgb=True, channels=RGB, masks=(mask, None))
    _, without = measure_cells(image, boxes, rgb=True, channels=RGB)
    area = column(names, values, "AreaShape_Area")
    assert area[0] == mask.area
    assert column(names, without, "AreaShape_Area")[0] > 2 * mask.area
    np.testing.assert_array_equal(values[1], without[1])


def test_a_large_cell_is_measured_on_its_mask_though_it_is_shrunk():
    image = disc_image([(150, 150)], radius=120, size=(300, 300))
    for mask in (disc_mask(150, 150, 60), mask_of(np.eye(300, dtype=bool)[30:270, 30:270], 30, 30)):
        names, values = measure_cells(
            image, [box_around(150, 150, 120)], rgb=True, channels=RGB, masks=(mask,)
        )
        (area,) = column(names, values, "AreaShape_Area")
        assert mask.area * 0.95 < area < mask.area * (1.05 if mask.area > 1000 else 6)


def test_a_mask_outside_the_image_is_no_mask():
    image = disc_image([(40, 40)])
    box = box_around(40, 40)
    far = disc_mask(400, 400, 5)
    _, values = measure_cells(image, [box], rgb=True, channels=RGB, masks=(far,))
    np.testing.assert_array_equal(values, measure_cells(image, [box], rgb=True, channels=RGB)[1])


def test_another_mask_makes_the_row_stale_where_masks_are_seen(request_of, tmp_path):
    make, seen = request_of
    cells = {"a": box_around(40, 40), "b": box_around(40, 100)}
    corners = Corners()
    tables = [
        run_job(cache.measure_images([make(cells, masks=masks)], tmp_path, [Quick(), corners]))
        for masks in (
            (),
            (None, None),
            (disc_mask(40, 40, 9), None),
            (disc_mask(40, 40, 9), None),
            (disc_mask(40, 40, 10), None),
        )
    ]
    assert (seen["measured"], corners.asked) == (4, 2)
    names = list(tables[0].names)
    areas = [t.values[0, names.index("AreaShape_Area")] for t in tables]
    assert areas[0] == areas[1] > areas[4] > areas[2] == areas[3] == disc_mask(40, 40, 9).area
    for table in tables[1:]:
        np.testing.assert_array_equal(table.values[1], tables[0].values[1])


def test_rows_kept_before_there_were_masks_stay_good(request_of, tmp_path):
    make, seen = request_of
    cells = {"a": box_around(40, 40)}
    first = run_job(cache.measure_images([make(cells)], tmp_path))
    (file,) = (tmp_path / "measurements").iterdir()
    arrays = read_arrays(file)
    del arrays["masks"]
    write_arrays(file, arrays)
    again = run_job(cache.measure_images([make(cells)], tmp_path))
    assert seen["measured"] == 1
    np.testing.assert_array_equal(first.values, again.values)


def test_another_version_measures_anew(request_of, tmp_path, monkeypatch):
    make, seen = request_of
    cells = {"a": box_around(40, 40)}
    run_job(cache.measure_images([make(cells)], tmp_path))
    run_job(cache.measure_images([make(cells)], tmp_path, [Quick(key="next")]))
    assert seen["measured"] == 2


class Corners:
    """A describer that gives back the boxes, scaled, two cells at a time."""

    name, key, chunk = "corners", "1", 2
    sees_masks = False

    def __init__(self, by=1.0):
        self.by = by
        self.asked = 0

    def names(self, channels, *, rgb):
        return ("y0", "x0", "y1", "x1")

    def rows(self, pixels, boxes, *, rgb, channels, levels, masks=()):
        self.asked += len(boxes)
        return (boxes * self.by).astype(np.float32)


def test_sets_stand_side_by_side_and_are_stale_each_by_itself(request_of, tmp_path):
    make, seen = request_of
    cells = {"a": box_around(40, 40), "b": box_around(40, 100)}
    run_job(cache.measure_images([make(cells)], tmp_path))
    corners = Corners()
    both = run_job(cache.measure_images([make(cells)], tmp_path, [Quick(), corners]))
    assert seen["measured"] == corners.asked == 2
    assert both.names[-4:] == ("y0", "x0", "y1", "x1")
    np.testing.assert_array_equal(both.values[:, -4:], np.array(list(cells.values()), np.float32))
    corners.key = "2"
    corners.by = 2.0
    again = run_job(cache.measure_images([make(cells)], tmp_path, [Quick(), corners]))
    assert (seen["measured"], corners.asked) == (2, 4)
    np.testing.assert_array_equal(again.values[:, -4:], 2 * both.values[:, -4:])
    np.testing.assert_array_equal(again.values[:, :-4], both.values[:, :-4])


def test_a_cancelled_job_keeps_the_rows_that_it_had(request_of, tmp_path):
    make, seen = request_of
    cells = {str(k): box_around(40 + k, 40) for k in range(6)}
    corners = Corners()
    job = cache.measure_images([make(cells)], tmp_path, [corners])
    while corners.asked < 4:
        next(job)
    job.close()
    table = run_job(cache.measure_images([make(cells)], tmp_path, [corners]))
    assert corners.asked in (6, 8)  # four were kept, or two of them
    assert table.cell_ids == tuple(cells)
    np.testing.assert_array_equal(table.values, np.array(list(cells.values()), np.float32))
    assert seen["measured"] == 0


@pytest.mark.parametrize("damage", ["half", "text", "empty"])
def test_a_broken_cache_is_dropped(request_of, tmp_path, damage):
    make, seen = request_of
    cells = {"a": box_around(40, 40)}
    first = run_job(cache.measure_images([make(cells)], tmp_path))
    (file,) = (tmp_path / "measurements").iterdir()
    whole = file.read_bytes()
    file.write_bytes(
        {"half": whole[: len(whole) // 2], "text": b"not a table", "empty": b""}[damage]
    )
    again = run_job(cache.measure_images([make(cells)], tmp_path))
    assert seen["measured"] == 2
    np.testing.assert_array_equal(first.values, again.values)
    run_job(cache.measure_images([make(cells)], tmp_path))
    assert seen["measured"] == 2  # and was written whole again


def test_a_broken_image_is_told_and_skipped(request_of, tmp_path):
    make, _ = request_of
    told: list[Progress] = []
    table = run_job(
        cache.measure_images(
            [
                make({"x": (0, 0, 5, 5)}, image_id="bad", path="broken.png"),
                make({"a": box_around(40, 40)}),
            ],
            tmp_path,
        ),
        told.append,
    )
    assert table.cell_ids == ("a",)
    assert [image for image, _ in table.failures] == ["bad"]
    assert any("broken.png" in step.message for step in told)
    assert told[-1].done == told[-1].total == 2


def test_image_ids_cannot_leave_the_cache(request_of, tmp_path):
    make, _ = request_of
    inner = tmp_path / "cache"
    run_job(cache.measure_images([make({"a": box_around(40, 40)}, image_id="../../evil")], inner))
    assert len(list((inner / "measurements").iterdir())) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["cache"]


def test_images_with_other_channels_share_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(
        cache, "read_pixels", lambda r: np.random.default_rng(0).random((1, 50, 50))
    )
    monkeypatch.setattr(cache, "is_large", lambda request: False)
    requests = [
        MeasureRequest(name, name, Plane(), False, (name,), "", (name,), ((5, 5, 20, 20),))
        for name in ("dapi", "gfp")
    ]
    table = run_job(cache.measure_images(requests, tmp_path))
    assert table.values.shape == (2, len(table.names))
    at = table.names.index("Intensity_MeanIntensity_gfp")
    assert table.values[0, at] == 0
    assert table.values[1, at] != 0


def test_table_survives_its_file(tmp_path):
    table = FeatureTable(("a", "b"), ("x",), np.array([[1.5], [2.0]], np.float32), (("i", "why"),))
    table.save(tmp_path / "t.npz")
    back = FeatureTable.load(tmp_path / "t.npz")
    assert (back.cell_ids, back.names, back.failures) == (
        table.cell_ids,
        table.names,
        table.failures,
    )
    np.testing.assert_array_equal(back.values, table.values)


def test_a_file_that_is_no_table_is_said_so(tmp_path):
    (tmp_path / "t.npz").write_bytes(b"no")
    with pytest.raises(ProjectError, match=r"t\.npz"):
        FeatureTable.load(tmp_path / "t.npz")
    with pytest.raises(ProjectError):
        FeatureTable.load(tmp_path / "missing.npz")


def test_a_large_image_is_measured_in_parts_alike(tmp_path, monkeypatch):
    import tifffile

    from napari_cellal.io import planes

    rng = np.random.default_rng(0)
    image = rng.integers(90, 110, (2, 600, 700)).astype(np.uint16)
    boxes = []
    for y, x in [(3, 5), (90, 95), (190, 199), (310, 620), (560, 660), (400, 30)]:
        side = int(rng.integers(20, 34))
        image[:, y : y + side, x : x + side] += rng.integers(50, 900, 2, dtype=np.uint16)[
            :, None, None
        ]
        boxes.append((y, x, y + side, x + side))
    boxes += [(-5, -5, 9, 9), (590, 690, 650, 720), (900, 900, 910, 910)]
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, image, tile=(64, 64), metadata={"axes": "CYX"}, compression="zlib")
    ids = tuple(map(str, range(len(boxes))))
    masks = (*[None] * 4, disc_mask(570, 670, 8), *[None] * (len(boxes) - 5))
    request = MeasureRequest(
        "i", str(path), Plane(), False, ("a", "b"), "f", ids, tuple(boxes), masks
    )
    whole = run_job(cache.measure_images([request], tmp_path / "one"))
    monkeypatch.setattr(planes, "_LARGE_PLANE", 1000)
    monkeypatch.setattr(cache, "_PART_PX", 200)
    monkeypatch.setattr(cache, "read_pixels", None)  # never all of it
    parts = run_job(cache.measure_images([request], tmp_path / "two"))
    assert parts.cell_ids == whole.cell_ids
    beside = MeasureRequest(
        "j", str(path), Plane(), False, ("a", "b"), "f", ("x",), ((900.0, 900.0, 910.0, 910.0),)
    )
    assert run_job(cache.measure_images([beside], tmp_path / "two")).failures == ()
    np.testing.assert_allclose(parts.values[:8], whole.values[:8], rtol=1e-5, atol=1e-5)
    assert parts.values[4, parts.names.index("AreaShape_Area")] == masks[4].area
    assert np.isfinite(parts.values).all()
