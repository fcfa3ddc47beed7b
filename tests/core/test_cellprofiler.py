"""CellProfiler's measurements: its names, known figures, and no row that depends on another."""

import numpy as np
import pytest

from napari_cellal.core.errors import CellalError
from napari_cellal.features import cellprofiler
from napari_cellal.features.view import image_levels

pytest.importorskip("cp_measure")
CHANNELS = ("DNA", "ER")
BOXES = np.array(
    [
        (20, 20, 60, 60),
        (70, 80, 90, 120),
        (-9, -9, 3, 3),  # over the border
        (119, 139, 120, 140),  # one pixel
        (50, 50, 50, 50),  # no area
    ],
    float,
)


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :140]
    pixels = rng.integers(100, 120, (2, 120, 140))
    pixels[:, (y - 40) ** 2 + (x - 40) ** 2 < 15**2] += 900
    pixels[1, 70:90, 80:120] += rng.integers(300, 900, (20, 40))
    return pixels.astype(np.uint16)


def rows(image, boxes, **options):
    levels = image_levels(image)
    return cellprofiler.CellProfiler().rows(
        image, boxes, rgb=False, channels=CHANNELS, levels=levels, **options
    )


def test_a_disc_is_a_disc_by_the_names_that_cellprofiler_gives(image):
    names = cellprofiler.CellProfiler().names(CHANNELS, rgb=False)
    assert len(set(names)) == len(names)
    disc = dict(zip(names, rows(image, BOXES[:1])[0].tolist(), strict=True))
    assert disc["AreaShape_Area"] == pytest.approx(np.pi * 15**2, rel=0.03)
    assert disc["AreaShape_MajorAxisLength"] == pytest.approx(30, rel=0.05)
    assert disc["AreaShape_Eccentricity"] < 0.2
    assert disc["AreaShape_Zernike_0_0"] > 0.2
    assert disc["Intensity_MeanIntensity_DNA"] == pytest.approx(0.95, abs=0.1)
    assert disc["RadialDistribution_MeanFrac_DNA_1of4"] == pytest.approx(1, abs=0.05)
    for name in (
        "Texture_Contrast_ER_3_00_256",
        "Granularity_1_DNA",
        "RadialDistribution_ZernikeMagnitude_ER_2_0",
    ):
        assert name in disc
    assert not any("Location" in name or "Center_X" in name for name in names)


def test_a_row_depends_on_its_cell_alone(image):
    together = rows(image, BOXES)
    assert np.isfinite(together).all()
    alone = np.concatenate([rows(image, box[None]) for box in BOXES])
    np.testing.assert_array_equal(together, alone)
    # the same cell elsewhere
    moved = np.roll(image, (7, 11), axis=(1, 2))
    levels = image_levels(image)
    there = cellprofiler.CellProfiler().rows(
        moved, BOXES[:2] + np.array([7, 11, 7, 11]), rgb=False, channels=CHANNELS, levels=levels
    )
    np.testing.assert_allclose(there, together[:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 3), (35, 44), (20, 90)])
def test_granularity_reads_nothing_beyond_the_picture(shape):
    rng = np.random.default_rng(0)
    unit, mask = rng.random(shape), np.zeros(shape, np.int32)
    mask[1:-1, 1:-1] = 1
    first = cellprofiler._granularity(mask, unit)
    for _ in range(20):
        _dirty = [rng.random(int(n)) * 100 for n in rng.integers(1, 300, 50)]
        del _dirty
        again = cellprofiler._granularity(mask, unit)
        assert all(np.array_equal(again[name], first[name]) for name in first)
    assert all(np.isfinite(values).all() for values in first.values())


def test_a_shrunk_cell_keeps_its_size(image, monkeypatch):
    names = cellprofiler.CellProfiler().names(CHANNELS, rgb=False)
    area, axis = names.index("AreaShape_Area"), names.index("AreaShape_MajorAxisLength")
    whole = rows(image, BOXES[:1])[0]
    monkeypatch.setattr(cellprofiler, "_SIDE_PX", 24)
    shrunk = rows(image, BOXES[:1])[0]
    assert shrunk[[area, axis]] == pytest.approx(whole[[area, axis]], rel=0.1)


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    def missing(name):
        raise cellprofiler.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(cellprofiler.importlib.metadata, "version", missing)
    with pytest.raises(CellalError, match=r"napari-cellal\[cellprofiler\]"):
        cellprofiler.CellProfiler()
