"""Drawn images as files with their truth beside them, to try import and training on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import tifffile
from PIL import Image

from napari_cellal.core.progress import run_job
from napari_cellal.io.atomic import write_atomic
from napari_cellal.io.exchange.report import ExportBox, ExportImage
from napari_cellal.io.exchange.voc_write import write_voc

from .fluorescence import PIXEL_SIZE_UM, make_field
from .smears import make_smear

if TYPE_CHECKING:
    from .drawing import SyntheticImage

SampleKind = Literal["smear", "fluorescence"]


def write_samples(
    folder: str | Path,
    kind: SampleKind = "smear",
    n: int = 12,
    seed: int = 0,
    *,
    shape: tuple[int, int] | None = None,
    cell_px: float | None = None,
) -> list[Path]:
    """Return the image files written, with one VOC file beside each and split lists.

    Smears are PNG, fluorescence is OME-TIFF with channel names and pixel size. The lists are
    ``ImageSets/Main/{train,val,test,trainval}.txt``: three fifths, one fifth, one fifth.

    Parameters
    ----------
    n : int
        Number of images; image k is drawn from ``seed + k``.
    shape : (Y, X), px, optional
        Left out, the kind's own.
    cell_px : float, optional
        Diameter of a cell, px; left out, the kind's own.
    """
    if kind not in ("smear", "fluorescence"):
        raise ValueError(f"no samples of kind {kind!r}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = {} if cell_px is None else {"cell_px": cell_px}
    files: list[Path] = []
    exports: list[ExportImage] = []
    for k in range(n):
        image: SyntheticImage
        if kind == "smear":
            image = make_smear(seed + k, shape or (480, 640), **options)
            file = folder / f"smear_{k + 1:03}.png"
            Image.fromarray(np.moveaxis(image.pixels, 0, 2)).save(file)
        else:
            image = make_field(seed + k, shape or (520, 696), **options)
            file = folder / f"field_{k + 1:03}.ome.tif"
            _write_ome(file, image)
        files.append(file)
        boxes = tuple(
            ExportBox((float(y0), float(x0), float(y1), float(x1)), name)
            for (y0, x0, y1, x1), name in zip(image.boxes, image.class_names, strict=True)
        )
        size = image.pixels.shape
        exports.append(ExportImage(file.name, (size[0], size[1], size[2]), boxes, finished=True))
    run_job(write_voc(folder, exports))
    _write_splits(folder, [Path(file.name).stem for file in files])
    return files


def _write_ome(file: Path, image: SyntheticImage) -> None:
    tifffile.imwrite(
        file,
        image.pixels,
        photometric="minisblack",
        compression="zlib",
        metadata={
            "axes": "CYX",
            "PhysicalSizeX": PIXEL_SIZE_UM,
            "PhysicalSizeY": PIXEL_SIZE_UM,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeYUnit": "µm",
            "Channel": {"Name": list(image.channels)},
        },
    )


def _write_splits(folder: Path, names: list[str]) -> None:
    # Every fifth to each, so that few images still give all three where they can.
    val, test = names[3::5] or names[1:2], names[4::5] or names[2:3]
    train = [name for name in names if name not in {*val, *test}]
    main = folder / "ImageSets" / "Main"
    main.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", train), ("val", val), ("test", test), ("trainval", train + val)):
        write_atomic(main / f"{split}.txt", "".join(f"{name}\n" for name in part))
