"""Folders of images with VOC files, in BCCD's layout or all in one folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from napari_cellal.core.errors import ImageError
from napari_cellal.core.records import Split
from napari_cellal.io.exchange.voc import read_image_sets, voc_files
from napari_cellal.io.image_files import image_files


@dataclass(frozen=True, slots=True)
class SampleLayout:
    """What lies in a folder of images and annotations.

    Attributes
    ----------
    images, annotations : list of Path
        In natural order; an image need not have an annotation.
    splits : {split: names}
        Of ``ImageSets/Main``, without suffix; empty where there is none.
    """

    images: list[Path]
    annotations: list[Path]
    splits: dict[str, list[str]] = field(default_factory=dict)

    @property
    def split_of(self) -> dict[str, Split]:
        """The split of each name that is in one; `train`, `val` and `test` alone count."""
        return {name: split for split in Split for name in self.splits.get(split.value, [])}


def load_layout(folder: str | Path) -> SampleLayout:
    """Return the images, annotations and splits of a folder.

    Either the folder, or the only one in it that does, holds ``JPEGImages`` and
    ``Annotations`` (VOC, BCCD); otherwise all images and XML files below it are taken.

    Raises
    ------
    ImageError
        If the folder does not exist or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder: name one that holds images.")
    inside = [p for p in folder.iterdir() if (p / "JPEGImages").is_dir()]
    root = inside[0] if len(inside) == 1 and not (folder / "JPEGImages").is_dir() else folder
    images = image_files(root / "JPEGImages" if (root / "JPEGImages").is_dir() else root)
    if not images:
        raise ImageError(f"{folder} holds no PNG, JPEG, BMP or TIFF image.")
    return SampleLayout(images, voc_files(root), read_image_sets(root))
