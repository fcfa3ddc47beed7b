"""Every kind of image file in, every kind of broken file refused in one sentence."""

from __future__ import annotations

import struct
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import ImageRecord, Plane
from napari_cellal.io.image_files import image_files
from napari_cellal.io.pixels import check_matches, probe_image, read_pixels, read_region
from napari_cellal.io.planes import open_levels

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def color() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)


@pytest.fixture
def planes() -> np.ndarray:
    """uint16 [T, Z, C, Y, X], every number different from its neighbours."""
    return np.random.default_rng(1).integers(0, 60000, (2, 3, 4, 20, 30)).astype(np.uint16)


def agree(path: Path, **where: int) -> np.ndarray:
    """Return the pixels after checking that probe, read and open say the same."""
    info, pixels = probe_image(path), read_pixels(path, **where)
    lazy = open_levels(path, Plane(**where))[0]
    assert pixels.shape == info.shape == lazy.shape
    assert pixels.dtype.name == info.dtype == lazy.dtype.name
    assert len(info.channels) == len(set(info.channels)) == info.shape[0]
    np.testing.assert_array_equal(lazy.compute(), pixels)
    return pixels


# --- pictures ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "A.PNG"])
def test_color_comes_back_exactly(tmp_path: Path, color: np.ndarray, name: str) -> None:
    Image.fromarray(color).save(tmp_path / name)
    np.testing.assert_array_equal(agree(tmp_path / name), np.moveaxis(color, 2, 0))
    assert probe_image(tmp_path / name).rgb


def test_jpeg_is_color(tmp_path: Path, color: np.ndarray) -> None:
    Image.fromarray(color).save(tmp_path / "a.jpg")
    assert agree(tmp_path / "a.jpg").shape == (3, 60, 80)
    Image.fromarray(color).convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert agree(tmp_path / "cmyk.jpg").shape == (3, 60, 80)


def test_alpha_is_dropped(tmp_path: Path, color: np.ndarray) -> None:
    Image.fromarray(np.dstack([color, color[..., 0]])).save(tmp_path / "rgba.png")
    np.testing.assert_array_equal(agree(tmp_path / "rgba.png"), np.moveaxis(color, 2, 0))
    Image.fromarray(color[..., :2].copy()).save(tmp_path / "la.png")
    np.testing.assert_array_equal(agree(tmp_path / "la.png")[0], color[..., 0])


def test_grey_stored_as_color_is_one_channel(tmp_path: Path, color: np.ndarray) -> None:
    grey = color[..., 0]
    Image.fromarray(np.dstack([grey, grey, grey, grey * 0 + 255])).save(tmp_path / "g.png")
    np.testing.assert_array_equal(agree(tmp_path / "g.png"), grey[None])
    tifffile.imwrite(tmp_path / "g.tif", np.dstack([grey] * 3), photometric="rgb")
    np.testing.assert_array_equal(agree(tmp_path / "g.tif"), grey[None])
    assert not probe_image(tmp_path / "g.tif").rgb
    almost = np.dstack([grey] * 3)
    almost[-1, -1, 2] ^= 1
    Image.fromarray(almost).save(tmp_path / "almost.png")
    assert agree(tmp_path / "almost.png").shape[0] == 3


def test_an_empty_field_of_a_color_camera_stays_color(tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9, 3), 240, np.uint8)).save(tmp_path / "white.png")
    assert probe_image(tmp_path / "white.png").shape == (3, 9, 9)


def test_palette_becomes_color_without_a_warning(tmp_path: Path, color: np.ndarray) -> None:
    palette = Image.fromarray(color).convert("P")
    palette.save(tmp_path / "p.png", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = agree(tmp_path / "p.png")
    np.testing.assert_array_equal(pixels, np.moveaxis(np.asarray(palette.convert("RGB")), 2, 0))


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    wide = np.random.default_rng(2).integers(0, 65535, (7, 9, 3)).astype(np.uint16)
    (tmp_path / "rgb16.png").write_bytes(png(wide, color_type=2))
    np.testing.assert_array_equal(agree(tmp_path / "rgb16.png"), np.moveaxis(wide, 2, 0))
    Image.fromarray(wide[..., 0]).save(tmp_path / "g16.png")
    np.testing.assert_array_equal(agree(tmp_path / "g16.png")[0], wide[..., 0])


def test_black_and_white_becomes_numbers(tmp_path: Path, color: np.ndarray) -> None:
    mask = color[..., 0] > 99
    Image.fromarray(mask).save(tmp_path / "m.png")
    tifffile.imwrite(tmp_path / "m.tif", mask)
    for name in ("m.png", "m.tif"):
        pixels = agree(tmp_path / name)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels[0] > 0, mask)


# --- TIFF -------------------------------------------------------------------------------


def test_ome_names_size_and_planes(tmp_path: Path, planes: np.ndarray) -> None:
    path = tmp_path / "a.ome.tif"
    names = ["DAPI", "GFP", "GFP", ""]
    meta = {"axes": "TZCYX", "PhysicalSizeX": 650.0, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(path, planes, compression="zlib", metadata=meta | {"Channel": {"Name": names}})
    info = probe_image(path)
    assert (info.n_t, info.n_z, info.n_scenes) == (2, 3, 1)
    assert info.pixel_size_um == pytest.approx(0.65)
    assert info.channels[:2] == ("DAPI", "GFP")
    for t in range(2):
        for z in range(3):
            np.testing.assert_array_equal(agree(path, t=t, z=z), planes[t, z])


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}])
@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "CTYX"])
def test_axes_in_any_order(
    tmp_path: Path, planes: np.ndarray, axes: str, options: dict[str, object]
) -> None:
    path = tmp_path / "a.ome.tif"
    stack = planes[0].transpose(1, 0, 2, 3) if axes[0] == "C" else planes[0]  # else [Z, C, Y, X]
    tifffile.imwrite(path, stack, metadata={"axes": axes}, **options)
    word = "t" if "T" in axes else "z"
    for k in range(3):
        np.testing.assert_array_equal(agree(path, **{word: k}), planes[0, k])


def test_imagej_stack(tmp_path: Path, planes: np.ndarray) -> None:
    path = tmp_path / "ij.tif"
    meta = {"axes": "TZCYX", "unit": "um"}
    tifffile.imwrite(path, planes, imagej=True, resolution=(4.0, 4.0), metadata=meta)
    info = probe_image(path)
    assert (info.n_t, info.n_z, info.pixel_size_um) == (2, 3, 0.25)
    np.testing.assert_array_equal(agree(path, t=1, z=2), planes[1, 2])


def test_printer_resolution_is_no_pixel_size(tmp_path: Path, color: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", color, resolution=(72, 72), resolutionunit="INCH")
    assert probe_image(tmp_path / "a.tif").pixel_size_um is None


def test_unnamed_axis_is_channels_when_short(tmp_path: Path) -> None:
    for n, shape, n_z in ((5, (5, 20, 30), 1), (20, (1, 20, 30), 20)):
        stack = np.random.default_rng(n).integers(0, 99, (n, 20, 30)).astype(np.uint8)
        for options in ({}, {"metadata": None}):
            tifffile.imwrite(tmp_path / "q.tif", stack, photometric="minisblack", **options)
            info = probe_image(tmp_path / "q.tif")
            assert (info.shape, info.n_z, info.rgb) == (shape, n_z, False)
            last = stack if n_z == 1 else stack[-1:]
            np.testing.assert_array_equal(agree(tmp_path / "q.tif", z=n_z - 1), last)


def test_color_by_planes_tiles_and_alpha(tmp_path: Path, color: np.ndarray) -> None:
    want = np.moveaxis(color, 2, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, want, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(agree(path), want)
    rgba = np.dstack([color, color[..., 0]])
    tifffile.imwrite(path, rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(agree(path), want)
    tifffile.imwrite(path, color, photometric="rgb", tile=(16, 32), compression="zlib")
    np.testing.assert_array_equal(agree(path), want)


@pytest.mark.parametrize("layout", [{"tile": (64, 64)}, {"rowsperstrip": 64}])
@pytest.mark.parametrize("compression", ["zlib", None])
def test_a_region_is_read_without_the_rest(
    tmp_path: Path, layout: dict[str, object], compression: str | None
) -> None:
    stack = np.random.default_rng(3).integers(0, 999, (3, 200, 300)).astype(np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, stack, compression=compression, metadata={"axes": "CYX"}, **layout)
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[1]
        last, size = page.dataoffsets[-1], page.databytecounts[-1]
    with path.open("r+b") as file:  # what lies at the bottom right of channel 1 is spoilt
        file.seek(last)
        file.write(b"\xff" * size)
    lazy = open_levels(path, Plane())[0]
    np.testing.assert_array_equal(lazy[1, 60:130, 200:].compute(), stack[1, 60:130, 200:])
    part = read_region(path, (120, 7, 150, 250), channels=slice(1, 3))
    np.testing.assert_array_equal(part, stack[1:, 120:150, 7:250])
    np.testing.assert_array_equal(read_region(path, (-5, 290, 9, 999)), stack[:, :9, 290:])
    corner = (190, 290, 200, 300)
    if compression:
        with pytest.raises(ImageError, match=r"a\.ome\.tif"):
            read_region(path, corner)
    with pytest.raises(ImageError, match=r"a\.ome\.tif"):
        read_region(path, (200, 0, 300, 10))


def test_levels_of_a_pyramid(tmp_path: Path) -> None:
    full = np.random.default_rng(4).integers(0, 255, (2, 512, 768)).astype(np.uint8)
    path = tmp_path / "p.ome.tif"
    with tifffile.TiffWriter(path) as tif:
        kept = {"tile": (128, 128), "compression": "zlib", "photometric": "minisblack"}
        tif.write(full, subifds=2, metadata={"axes": "CYX"}, **kept)
        tif.write(full[:, ::2, ::2], subfiletype=1, **kept)
        tif.write(full[:, ::4, ::4], subfiletype=1, **kept)
    assert probe_image(path).levels == ((512, 768), (256, 384), (128, 192))
    lazy = open_levels(path, Plane())
    for level, want in zip(lazy, (full, full[:, ::2, ::2], full[:, ::4, ::4]), strict=True):
        np.testing.assert_array_equal(level.compute(), want)
    part = read_region(path, (10, 20, 90, 60), level=2)
    np.testing.assert_array_equal(part, full[:, 40:360:4, 80:240:4])


def test_big_endian_comes_back_native(tmp_path: Path, planes: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "b.tif", planes[0, 0, 0], byteorder=">")
    pixels = agree(tmp_path / "b.tif")
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels[0], planes[0, 0, 0])


def test_lzw_without_further_packages(tmp_path: Path, color: np.ndarray) -> None:
    Image.fromarray(color).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(agree(tmp_path / "a.tif"), np.moveaxis(color, 2, 0))


def test_several_scenes(tmp_path: Path, planes: np.ndarray) -> None:
    with tifffile.TiffWriter(tmp_path / "s.ome.tif") as tif:
        for k, n in ((0, 20), (1, 10)):
            meta = {"axes": "YX", "PhysicalSizeX": k + 1.0, "Channel": {"Name": [f"c{k}"]}}
            tif.write(planes[0, 0, k, :n], metadata=meta)
    info = probe_image(tmp_path / "s.ome.tif", scene=1)
    assert (info.n_scenes, info.shape, info.channels) == (2, (1, 10, 30), ("c1",))
    assert info.pixel_size_um == 2.0
    pixels = read_pixels(tmp_path / "s.ome.tif", scene=1)
    np.testing.assert_array_equal(pixels[0], planes[0, 0, 1, :10])


@pytest.mark.parametrize("where", [{"scene": 1}, {"t": 2}, {"z": 3}, {"z": -1}])
def test_what_is_not_there_is_an_error(
    tmp_path: Path, planes: np.ndarray, where: dict[str, int]
) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "TZCYX"})
    for read in (read_pixels, lambda path, **where: open_levels(path, Plane(**where))):
        with pytest.raises(ImageError, match=r"a\.ome\.tif"):
            read(tmp_path / "a.ome.tif", **where)


# --- broken files -----------------------------------------------------------------------


def png(pixels: np.ndarray, color_type: int, width: int = 0, height: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    size = (width or pixels.shape[1], height or pixels.shape[0])
    head = struct.pack(">IIBBBBB", *size, 16, color_type, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def refused(path: Path) -> None:
    """Check that all three ways refuse the file in one sentence that names it."""
    for read in (probe_image, read_pixels, lambda path: open_levels(path, Plane())):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError) as caught:
                read(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [0.03, 0.5, 0.97])
@pytest.mark.parametrize(
    "kind", ["png", "jpg", "bmp", "tif", "zip.tif", "ome.tif", "ij.tif", "pages.tif"]
)
def test_a_file_cut_short_is_refused(
    tmp_path: Path,
    color: np.ndarray,
    planes: np.ndarray,
    kind: str,
    part: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / f"cut.{kind}"
    if kind == "zip.tif":
        tifffile.imwrite(path, color, photometric="rgb", compression="zlib")
    elif kind == "ome.tif":
        tifffile.imwrite(path, planes, metadata={"axes": "TZCYX"})
    elif kind == "ij.tif":
        tifffile.imwrite(path, planes, imagej=True, metadata={"axes": "TZCYX"})
    elif kind == "pages.tif":
        tifffile.imwrite(path, planes[0, 0].repeat(5, 0), compression="zlib", metadata=None)
    else:
        Image.fromarray(color).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path)
    assert not caplog.records


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not an image at all",
        b"II*\0",
        b"II*\0\x08\0\0\0" + bytes(range(200)),
        b"\xff\xd8\xff",
    ],
    ids=["empty", "text", "tiff head", "tiff noise", "jpeg head"],
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"bad{suffix}").write_bytes(content)
    refused(tmp_path / f"bad{suffix}")


def test_folders_missing_files_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png")
    refused(tmp_path / "gone.png")
    tifffile.imwrite(tmp_path / "c.tif", np.ones((4, 4), np.complex64))
    refused(tmp_path / "c.tif")


@pytest.mark.parametrize("side", [0, 30_000, 200_000])
def test_a_header_that_lies_about_its_size_is_refused(tmp_path: Path, side: int) -> None:
    small = np.ones((4, 4, 3), np.uint16)
    data = bytearray(png(small, 2, side or 1, side or 1))
    if side == 0:
        data[16:24] = bytes(8)
    (tmp_path / "huge.png").write_bytes(bytes(data))
    refused(tmp_path / "huge.png")


def test_a_suffix_that_lies_does_no_harm(tmp_path: Path, color: np.ndarray) -> None:
    Image.fromarray(color).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    np.testing.assert_array_equal(agree(tmp_path / "a.tif"), np.moveaxis(color, 2, 0))


# --- the project's record ---------------------------------------------------------------


def test_fingerprint_follows_content(tmp_path: Path, color: np.ndarray) -> None:
    Image.fromarray(color).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    color[3, 3, 1] ^= 1
    Image.fromarray(color).save(tmp_path / "c.png")
    a, b, c = (probe_image(tmp_path / f"{k}.png").fingerprint for k in "abc")
    assert a == b != c


def test_fingerprint_of_a_large_file_sees_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_cellal.io import fingerprint

    monkeypatch.setattr(fingerprint, "WHOLE_HASH_BYTES", 1000)
    monkeypatch.setattr(fingerprint, "HASH_SAMPLE_BYTES", 100)
    data = bytearray(5000)
    prints = []
    for at in (None, 0, 2500, 4999):
        if at is not None:
            data[at] ^= 1
        (tmp_path / "x").write_bytes(bytes(data))
        prints.append(fingerprint.fingerprint_of(tmp_path / "x"))
    assert len(set(prints)) == 4


def test_a_changed_image_is_noticed(tmp_path: Path, color: np.ndarray) -> None:
    path = tmp_path / "field_7.tif"
    tifffile.imwrite(path, color, photometric="rgb")
    info = probe_image(path)
    record = ImageRecord("i", "plates/field_7.tif", info.shape, info.dtype, info.channels, rgb=True)
    check_matches(info, record)
    for other in (color[:-1], color[..., 0], color.astype(np.uint16)):
        tifffile.imwrite(path, other)
        with pytest.raises(ImageError, match="field_7"):
            check_matches(probe_image(path), record)


# --- which files ------------------------------------------------------------------------


def test_image_files_of_folders(tmp_path: Path) -> None:
    for name in (
        "s10.png", "s2.PNG", "s1.tif", "notes.txt", ".hidden.png", "sub/a.jpg", ".git/x.png",
        "p.cellal/cache/y.png",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    found = image_files([tmp_path, tmp_path / "s2.PNG", tmp_path / "notes.txt"])
    names = [p.relative_to(tmp_path).as_posix() for p in found]
    assert names == ["s1.tif", "s2.PNG", "s10.png", "sub/a.jpg", "notes.txt"]
    with pytest.raises(ImageError, match="gone"):
        image_files(tmp_path / "gone")


def test_a_color_series_keeps_its_channels_when_one_plane_is_grey(
    tmp_path: Path, color: np.ndarray
) -> None:
    grey = np.dstack([color[..., 0]] * 3)
    for first, second, n in ((color, grey, 3), (grey, color, 1)):
        path = tmp_path / "series.ome.tif"
        tifffile.imwrite(path, np.stack([first, second]), metadata={"axes": "TYXS"})
        assert [agree(path, t=t).shape[0] for t in (0, 1)] == [n, n]
