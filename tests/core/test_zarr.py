"""OME-Zarr: pyramids, plates and channels in; what is broken or would run programs, refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import WHOLE, Plane
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import probe_image, read_pixels, read_region
from napari_cellal.io.planes import open_levels
from napari_cellal.io.zarr_metadata import plate_place

VALUES = np.random.default_rng(0).integers(0, 60000, (2, 3, 4, 90, 120)).astype(np.uint16)  # TCZYX


def write(
    folder: Path, values: np.ndarray = VALUES, axes: str = "tczyx", version: str = "0.5"
) -> Path:
    """Write an OME-Zarr of two levels."""
    fmt = 3 if version == "0.5" else 2
    group = zarr.open_group(folder, mode="w", zarr_format=fmt)
    for name, step in (("0", 1), ("1", 2)):
        level = values[..., ::step, ::step]
        chunks = (1,) * (level.ndim - 2) + (32, 32)
        group.create_array(name, data=np.ascontiguousarray(level), chunks=chunks)
    kinds = {"t": "time", "c": "channel"}
    described: list[Any] = [
        {"name": a, "type": kinds.get(a, "space")} | ({"unit": "micrometer"} if a in "zyx" else {})
        for a in axes
    ]
    scale = [0.5 if a in "yx" else 1.0 for a in axes]
    images = {
        "multiscales": [
            {
                "version": version,
                "axes": [*axes] if version == "0.3" else described,
                "datasets": [
                    {
                        "path": name,
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                    for name in ("0", "1")
                ],
            }
        ],
        "omero": {
            "channels": [
                {"label": n, "color": c}
                for n, c in (("DNA", "0000ff"), ("ER", "00FF00"), ("AGP", "FF0000"))
            ]
        },
    }
    group.attrs.update({"ome": images} if version == "0.5" else images)
    return folder


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.5"])
def test_a_pyramid_of_channels(tmp_path: Path, version: str) -> None:
    path = write(tmp_path / "a.ome.zarr", version=version)
    info = probe_image(path)
    assert (info.shape, info.n_t, info.n_z, info.dtype) == ((3, 90, 120), 2, 4, "uint16")
    assert info.channels == ("DNA", "ER", "AGP")
    assert info.colors == ("#0000FF", "#00FF00", "#FF0000")
    assert info.pixel_size_um == (None if version == "0.3" else 0.5)
    assert info.levels == ((90, 120), (45, 60))
    np.testing.assert_array_equal(read_pixels(path, t=1, z=2), VALUES[1, :, 2])
    part = read_region(path, (3, 5, 40, 60), level=1, t=1, z=3, channels=slice(1, 3))
    np.testing.assert_array_equal(part, VALUES[1, 1:, 3, 6:80:2, 10:120:2])
    for level, step in zip(open_levels(path, Plane(z=1)), (1, 2), strict=True):
        np.testing.assert_array_equal(level.compute(), VALUES[0, :, 1, ::step, ::step])


@pytest.mark.parametrize("axes", ["yx", "cyx", "zyx", "xyc", "yxt"])
def test_other_axes(tmp_path: Path, axes: str) -> None:
    sizes = {"t": 2, "c": 3, "z": 4, "y": 50, "x": 70}
    shape = tuple(sizes[a] for a in axes)
    values = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("s0", data=values)
    datasets = [{"path": "s0"}]
    group.attrs["multiscales"] = [{"axes": [{"name": a} for a in axes], "datasets": datasets}]
    full = [axes.index(a) for a in "tczyx" if a in axes]
    want = values.transpose(full)
    want = want[0] if axes[0] in "z" or "t" in axes else want
    np.testing.assert_array_equal(read_pixels(path), want.reshape((-1, 50, 70)))


@pytest.mark.parametrize("fmt", [2, 3])
def test_an_array_by_itself(tmp_path: Path, fmt: Any) -> None:
    values = np.arange(3 * 20 * 30, dtype=np.float32).reshape(3, 20, 30)
    zarr.create_array(tmp_path / "a.zarr", data=values, zarr_format=fmt)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.zarr"), values)


def test_chunks_never_written_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "big.zarr"
    array = zarr.create_array(
        path, shape=(2, 40_000, 40_000), chunks=(1, 1024, 1024), dtype="uint16", fill_value=9
    )
    array[1, 20_000:20_010, 100:120] = 5
    lazy = open_levels(path, WHOLE)[0]
    assert lazy[1, 19_999:20_011, 100].compute().tolist() == [9, *[5] * 10, 9]


def test_folders_of_zarr(tmp_path: Path) -> None:
    one = write(tmp_path / "one.zarr")
    plate = tmp_path / "p.zarr"
    group = zarr.open_group(plate, mode="w", zarr_format=3)
    wells = [{"path": "A/1"}, {"path": "B/12"}]
    group.attrs["ome"] = {"plate": {"name": "screen", "wells": wells}}
    for well in wells:
        place = zarr.open_group(plate / well["path"], mode="w", zarr_format=3)
        place.attrs["ome"] = {"well": {"images": [{"path": "0"}, {"path": "1"}]}}
        for field in "01":
            write(plate / well["path"] / field)
    series = tmp_path / "r.zarr"
    zarr.open_group(series, mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    for k in (0, 2, 10):
        write(series / str(k), version="0.4")
    found = image_files(tmp_path)
    fields = [plate / w["path"] / f for w in wells for f in "01"]
    assert found == [one, *fields, *(series / k for k in ("0", "2", "10"))]
    assert plate_place(fields[3]) == (plate, {"plate": "screen", "well": "B12", "field": "1"})
    assert plate_place(series / "2") == (series, {})
    assert plate_place(one) == (None, {})


def test_the_fingerprint_follows_the_pixels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    first = probe_image(path).fingerprint
    assert probe_image(path).fingerprint == first
    write(path, VALUES + 1)
    assert probe_image(path).fingerprint != first


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    meta = {
        "zarr_format": 2, "shape": [8, 8], "chunks": [8, 8], "dtype": "|u1", "fill_value": 0,
        "order": "C", "compressor": None, "filters": [{"id": "pickle", "protocol": 5}],
    }  # fmt: skip
    (path / ".zarray").write_text(json.dumps(meta))
    (path / "0.0").write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    for read in (probe_image, read_pixels):
        with pytest.raises(ImageError, match=r"a\.zarr"):
            read(path)
    assert not (tmp_path / "ran").exists()


def edit(path: Path, change: Any) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def ome(change: Any) -> Any:
    return lambda path: edit(
        path / "zarr.json", lambda v: change(v["attributes"]["ome"]["multiscales"][0])
    )


def header(change: Any) -> Any:
    return lambda path: edit(path / "0" / "zarr.json", change)


BROKEN = {
    "climbs out": ome(lambda m: m["datasets"][0].update(path="../b.zarr/0")),
    "absolute": ome(lambda m: m["datasets"][0].update(path="/etc")),
    "level missing": ome(lambda m: m["datasets"][1].update(path="7")),
    "no levels": ome(lambda m: m.update(datasets=[])),
    "levels no list": ome(lambda m: m.update(datasets=4)),
    "too few axes": ome(lambda m: m.update(axes=m["axes"][1:])),
    "no x": ome(lambda m: m["axes"][4].update(name="q")),
    "multiscales empty": lambda path: edit(
        path / "zarr.json", lambda v: v["attributes"]["ome"].update(multiscales=[])
    ),
    "no json": lambda path: (path / "zarr.json").write_text("{"),
    "deep json": lambda path: (path / "zarr.json").write_text("[" * 100_000),
    "binary": lambda path: (path / "zarr.json").write_bytes(b"\xff\xfe\x00" * 50),
    "group only": lambda path: (path / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
    ),
    "negative": header(lambda v: v.update(shape=[2, 3, 4, -90, 120])),
    "no shape": header(lambda v: v.pop("shape")),
    "text": header(lambda v: v.update(data_type="string")),
    "huge chunk": header(
        lambda v: v["chunk_grid"]["configuration"].update(chunk_shape=[1, 1, 1, 90000, 120000])
    ),
    "unknown codec": header(lambda v: v["codecs"].append({"name": "numcodecs.pickle"})),
    "huge": header(lambda v: v.update(shape=[2, 3, 4, 10**9, 10**9])),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_ones_are_refused_in_one_sentence(tmp_path: Path, fault: str) -> None:
    path = write(tmp_path / "a.zarr")
    BROKEN[fault](path)
    with pytest.raises(ImageError, match=r"a\.zarr") as caught:
        read_pixels(path)
    assert "\n" not in str(caught.value)


def test_a_spoilt_chunk_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr")
    chunk = path / "0" / "c" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:40])
    with pytest.raises(ImageError, match=r"a\.zarr"):
        read_pixels(path)
    assert read_region(path, (40, 40, 60, 60)).shape == (3, 20, 20)
