"""Channels to colour: one map for all images, the same for the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from napari_cellal.core.errors import CellalError, ModelError
from napari_cellal.io.composites import PRESETS, Composite, CompositeFit, choose_colors

RNG = np.random.default_rng(0)


def fit(*images: np.ndarray, names: str = "abcde") -> CompositeFit:
    fitted = CompositeFit(tuple(names[: len(images[0])]))
    for image in images:
        fitted.add(image)
    return fitted


def test_colors_add_up() -> None:
    image = np.zeros((3, 4, 500), np.uint16)
    image[0, 0], image[1, 1], image[:, 2], image[2, 3] = 4000, 4000, 4000, 4000
    color = fit(image).colors(("#FF0000", "#00FF00", "#808000")).apply(image)
    assert color.shape == (3, 4, 500)
    assert color[:, 0, 0].tolist() == [255, 0, 0]
    assert color[:, 1, 0].tolist() == [0, 255, 0]
    assert color[:, 2, 0].tolist() == [255, 255, 0]
    assert color[:, 3, 0].tolist() == [128, 128, 0]


def test_one_map_for_all_images_keeps_a_dim_image_dim() -> None:
    bright = np.broadcast_to(np.arange(0, 60000, 60, np.uint16), (2, 50, 1000))
    made = fit(bright, bright // 10).colors(("#00FF00", "#FF0000"))
    assert made.apply(bright).max() == 255
    assert 20 < made.apply(bright // 10).max() < 30


def mixed(n: int, seed: int) -> np.ndarray:
    """Return [5, 60, 60] made of ``n`` independent pictures."""
    rng = np.random.default_rng(seed)
    parts = rng.gamma(2, 300, (n, 60 * 60))
    weights = np.random.default_rng(9).uniform(0.1, 1, (5, n))
    return (weights @ parts).reshape(5, 60, 60).astype(np.uint16)


def test_pca_finds_what_there_is_and_is_the_same_for_every_image() -> None:
    images = [mixed(2, seed) for seed in range(4)]
    made = fit(*images).pca()
    assert len(made.explained) == 5
    assert sum(made.explained) == pytest.approx(1)
    assert sum(made.explained[:2]) > 0.97
    assert list(made.explained) == sorted(made.explained, reverse=True)
    again = fit(*images).pca()
    assert again == made
    # the components are uncorrelated over the images that they were fitted to
    colors = np.concatenate([made.apply(i).reshape(3, -1) for i in images], axis=1).astype(float)
    assert abs(np.corrcoef(colors[:2])[0, 1]) < 0.1
    whole = made.apply(np.concatenate(images, axis=1))
    np.testing.assert_array_equal(whole[:, :60], made.apply(images[0]))


@pytest.mark.parametrize("n", [2, 3])
def test_pca_of_few_channels(n: int) -> None:
    made = fit(RNG.integers(0, 255, (n, 50, 50)).astype(np.uint8)).pca()
    assert len(made.weights) == 3
    assert len(made.explained) == n
    with pytest.raises(CellalError):
        fit(np.zeros((1, 9, 9), np.uint8)).pca()


@pytest.mark.parametrize("kind", ["colors", "pca"])
@pytest.mark.parametrize(
    "image",
    [
        np.zeros((3, 9, 9), np.uint16),
        np.full((3, 9, 9), np.nan, np.float32),
        np.full((3, 9, 9), np.inf, np.float32),
        np.full((3, 1, 1), -5, np.int32),
        np.arange(3 * 81, dtype=np.float64).reshape(3, 9, 9) * 1e30,
    ],
)
def test_images_with_nothing_to_see(kind: str, image: np.ndarray) -> None:
    fitted = fit(image)
    made = fitted.pca() if kind == "pca" else fitted.colors(("#FF0000",) * 3)
    assert made.apply(image).shape == (3, *image.shape[1:])
    assert np.isfinite(made.weights).all()
    assert np.isfinite(made.explained).all()


def test_an_image_of_another_type_is_scaled_not_cast() -> None:
    image = RNG.integers(100, 4000, (3, 80, 80)).astype(np.uint16)
    made = fit(image).colors(("#FF0000", "#00FF00", "#0000FF"))
    small = (image // 16).astype(np.uint8)
    assert abs(made.apply(small).astype(int) - made.apply(image)).mean() < 4


def test_it_survives_being_kept() -> None:
    made = fit(mixed(3, 1)).pca()
    assert Composite.from_dict(made.as_dict()) == made
    for change in ({"weights": [[1.0]]}, {"low": None}, {"offset": [0.0]}, {"channels": ["a"]}):
        with pytest.raises(ModelError):
            Composite.from_dict(made.as_dict() | change)
    with pytest.raises(ModelError, match="5 channels"):
        made.apply(np.zeros((4, 9, 9), np.uint16))


def test_choosing_colors() -> None:
    hpa = ("microtubules", "protein", "nucleus", "reticulum")
    assert choose_colors(hpa) == PRESETS["hpa"]
    assert choose_colors(hpa, "hpa", {"nucleus": "cyan"})[2] == "#00FFFF"
    assert choose_colors(("a",) * 0 + ("a", "b"), given={"b": "#0a0b0c"})[1] == "#0A0B0C"
    assert len(choose_colors(tuple("abcdefghij"))) == 10
    for preset, given in (("nope", {}), ("hpa", {"x": "red"}), ("hpa", {"protein": "redd"}),
                          ("cellpainting5", {})):  # fmt: skip
        with pytest.raises(CellalError):
            choose_colors(hpa, preset, given)
