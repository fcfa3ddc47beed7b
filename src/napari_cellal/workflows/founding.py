"""A new project of a folder that holds images and their Pascal VOC files."""

from __future__ import annotations

import shutil
from itertools import islice
from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.progress import Job, Progress
from napari_cellal.io.samples.layout import load_layout
from napari_cellal.io.store import Project

from . import adding, annotating

if TYPE_CHECKING:
    from pathlib import Path

_LOOKED_AT = 20  # XML files
_HEAD_BYTES = 4096


def holds_voc(folder: Path) -> bool:
    """Return whether a folder seems to hold VOC files, by the beginning of a few of them.

    They are looked for in the folder, in its ``Annotations``, and in those of its folders.
    """
    patterns = ("*.xml", "Annotations/*.xml", "*/Annotations/*.xml")
    try:
        for pattern in patterns:
            for file in islice(folder.glob(pattern), _LOOKED_AT):
                with file.open("rb") as opened:
                    if b"<annotation" in opened.read(_HEAD_BYTES):
                        return True
    except OSError:  # not ours to read
        return False
    return False


def found_project(source: str | Path, target: str | Path) -> Job[str]:
    """Return the folder of a new project with a folder's images and boxes.

    The boxes count as a person's labels, and official splits are taken over. Images whose
    file says ``verified`` are finished, the others are not: nobody said that every cell has
    its box.

    Raises
    ------
    CellalError
        If there is no image or no annotation in ``source``, or ``target`` cannot be made.
    """
    yield Progress(0, 0, "Looking for images")
    layout = load_layout(source)
    looked = yield from adding.look_at_images(layout.images)
    images, report = yield from annotating.read_annotations(layout.annotations, "voc")
    names = dict.fromkeys(b.class_name for i in images for b in i.boxes if b.class_name)
    with Project.create(target, list(names)) as project:
        made = project.folder
        try:
            adding.add_looked(project, looked, layout.split_of)
            steps = annotating.import_steps(project, images, report, confirm=True)
            for done, _ in enumerate(steps):
                yield Progress(done, 0, "Writing the boxes")
        except (CellalError, GeneratorExit):  # cancelled: half a project is none
            project.close()
            shutil.rmtree(made, ignore_errors=True)
            raise
    return str(made)
