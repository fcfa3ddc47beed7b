"""Images out of a project, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_cellal.io.store import Project

UNSEEN = (Status.PROPOSED, Status.IMPORTED)
"""Every other status is something that a person said."""


@dataclass(frozen=True, slots=True)
class Removal:
    """What leaves the project with some images."""

    image_ids: tuple[str, ...]
    names: tuple[str, ...]
    cells: int
    reviewed: int
    """Those of the cells that a person confirmed, drew, rejected or marked unsure."""

    def consequence(self) -> str:
        """Return what removing them means, in words."""
        n = len(self.image_ids)
        what = self.names[0] if n == 1 else f"{n} images"
        text = f"{what} and {self.cells:,} boxes leave the project"
        if self.reviewed:
            text += f"; {self.reviewed:,} of the boxes you have reviewed"
        files = "file stays on disk as it is" if n == 1 else "files stay on disk as they are"
        return f"{text}. This cannot be undone. The image {files}."


def look_at_removal(project: Project, image_ids: Sequence[str]) -> Removal:
    """Return what would leave the project with these images."""
    counts = project.cells.counts_by_image()
    mine = [counts.get(key, {}) for key in image_ids]
    return Removal(
        tuple(image_ids),
        tuple(project.images[key].name for key in image_ids),
        sum(sum(c.values()) for c in mine),
        sum(n for c in mine for status, n in c.items() if status not in UNSEEN),
    )


def remove_images(project: Project, removal: Removal, *, with_reviewed: bool = False) -> None:
    """Take the images and their cells out of the project. No file is touched.

    Raises
    ------
    CellalError
        If a person has reviewed cells of theirs and ``with_reviewed`` is not set; nothing is
        removed then.
    """
    if removal.reviewed and not with_reviewed:
        raise CellalError(
            f"{removal.consequence()} Nothing was removed; add --with-reviewed to mean it."
        )
    project.remove_images(removal.image_ids)
