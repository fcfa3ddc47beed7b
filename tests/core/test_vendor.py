"""Makers' formats through bioio, where it is installed; one clear sentence where it is not."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import Plane, Projection
from napari_cellal.io import vendor_image
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import probe_image, read_pixels, read_region
from napari_cellal.io.planes import open_levels, read_plane

if TYPE_CHECKING:
    from pathlib import Path

VALUES = np.random.default_rng(0).integers(0, 60000, (3, 4, 90, 120)).astype(np.uint16)  # CZYX


@pytest.mark.parametrize("suffix", [".czi", ".nd2", ".LIF"])
def test_without_the_reader_one_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(vendor_image, "READERS", {suffix.lower(): "bioio_that_is_not_there"})
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"anything")
    assert image_files(tmp_path) == [path]
    for read in (probe_image, read_pixels):
        with pytest.raises(ImageError, match=r"napari-cellal\[formats\]"):
            read(path)


def agree(path: Path) -> None:
    """Check that the file holds `VALUES`, by every way of reading."""
    info = probe_image(path)
    assert (info.shape, info.n_z, info.n_t, info.dtype) == ((3, 90, 120), 4, 1, "uint16")
    np.testing.assert_array_equal(read_pixels(path, z=2), VALUES[:, 2])
    part = read_region(path, (3, 4, 50, 60), z=1, channels=slice(1, 2))
    np.testing.assert_array_equal(part, VALUES[1:2, 1, 3:50, 4:60])
    plane = Plane(z=Projection.MAX)
    np.testing.assert_array_equal(read_plane(path, plane), VALUES.max(axis=1))
    np.testing.assert_array_equal(open_levels(path, plane)[0].compute(), VALUES.max(axis=1))
    cut = path.with_name(f"cut{path.suffix}")
    cut.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageError, match="cut"):
        probe_image(cut)


def test_czi(tmp_path: Path) -> None:
    pytest.importorskip("bioio_czi")
    from pylibCZIrw import czi

    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as document:
        for c in range(3):
            for z in range(4):
                where = {"C": c, "Z": z, "T": 0}
                document.write(data=VALUES[c, z][..., None], plane=where, scene=0)
        document.write_metadata(
            channel_names={0: "DNA", 1: "ER", 2: "AGP"}, scale_x=0.5e-6, scale_y=0.5e-6
        )
    agree(path)
    info = probe_image(path)
    assert (info.channels, info.pixel_size_um) == (("DNA", "ER", "AGP"), 0.5)


def make_lif(path: Path) -> None:
    """Write a Leica file of one image: an XML header, then the pixels as one block."""
    n_c, n_z, height, width = VALUES.shape
    plane, stack = height * width * 2, n_z * height * width * 2
    channels = "".join(
        '<ChannelDescription DataType="0" ChannelTag="0" Resolution="16" '
        f'NameOfMeasuredQuantity="" Min="0" Max="65535" Unit="" LUTName="Green" IsLUTInverted="0" '
        f'BytesInc="{c * stack}" BitInc="0"/>'
        for c in range(n_c)
    )
    sizes = ((1, width, 2, "m"), (2, height, width * 2, "m"), (3, n_z, plane, "m"))
    dimensions = "".join(
        f'<DimensionDescription DimID="{k}" NumberOfElements="{n}" Origin="0" '
        f'Length="{5e-7 * (n - 1)}" Unit="{unit}" BitInc="0" BytesInc="{step}"/>'
        for k, n, step, unit in sizes
    )
    xml = (
        '<LMSDataContainerHeader Version="2"><Element Name="a" Visibility="1" '
        'CopyOption="1" UniqueID="1"><Data/><Memory Size="0" MemoryBlockID="MemBlock_0"/>'
        '<Children><Element Name="series" Visibility="1" UniqueID="2"><Data><Image>'
        f"<ImageDescription><Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
        "</ImageDescription></Image></Data>"
        f'<Memory Size="{n_c * stack}" MemoryBlockID="MemBlock_1"/></Element></Children>'
        "</Element></LMSDataContainerHeader>"
    )
    text = xml.encode("utf-16-le")
    name = "MemBlock_1".encode("utf-16-le")
    data = VALUES.tobytes()
    with path.open("wb") as file:
        file.write(struct.pack("<IIBI", 0x70, 5 + len(text), 0x2A, len(text) // 2) + text)
        head = struct.pack("<BQBI", 0x2A, len(data), 0x2A, len(name) // 2) + name
        file.write(struct.pack("<II", 0x70, len(head)) + head + data)


def test_lif(tmp_path: Path) -> None:
    pytest.importorskip("bioio_lif")
    path = tmp_path / "a.lif"
    make_lif(path)
    agree(path)
