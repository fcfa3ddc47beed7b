"""What the columns of a table of boxes mean, guessed from their headings."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from .names import short
from .source import UnreadableError, number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROLES: Mapping[str, tuple[str, ...]] = {
    "image": (
        "filename", "image", "file", "imagename", "imagefilename", "imagefile", "imagepath",
        "path", "filepath", "img", "imgname", "imageid", "imgid",
    ),
    "class": (
        "class", "classname", "celltype", "label", "labelname", "category", "categoryname",
        "classlabel", "species", "type", "name",
    ),
    "xmin": ("xmin", "x1", "x0", "left", "minx", "bboxxmin", "xleft", "startx"),
    "ymin": ("ymin", "y1", "y0", "top", "miny", "bboxymin", "ytop", "starty"),
    "xmax": ("xmax", "x2", "right", "maxx", "bboxxmax", "xright", "endx"),
    "ymax": ("ymax", "y2", "bottom", "maxy", "bboxymax", "ybottom", "endy"),
    "x": ("x", "bboxx", "xstart", "boxx"),
    "y": ("y", "bboxy", "ystart", "boxy"),
    "x_center": ("xcenter", "cx", "xc", "centerx", "centroidx", "xcentre", "centrex"),
    "y_center": ("ycenter", "cy", "yc", "centery", "centroidy", "ycentre", "centrey"),
    "box_width": ("boxwidth", "bboxwidth", "w", "bboxw", "width"),
    "box_height": ("boxheight", "bboxheight", "h", "bboxh", "height"),
    "image_width": ("imagewidth", "imgwidth", "imagew", "width"),
    "image_height": ("imageheight", "imgheight", "imageh", "height"),
    "score": ("score", "confidence", "conf", "probability"),
    "difficult": ("difficult",),
    "truncated": ("truncated", "istruncated"),
    "status": ("status",),
    "reviewed_by": ("reviewedby",),
    "reviewed_at": ("reviewedat",),
    "model": ("model",),
    "model_class": ("modelclass",),
    "note": ("note", "notes", "comment"),
    "probabilities": ("probabilities",),
    "finished": ("finished",),
}  # fmt: skip
"""{what is meant: headings in lower case without signs, the surest first}."""

CORNERS = ("ymin", "xmin", "ymax", "xmax")
SIZED = ("y", "x", "box_height", "box_width")
CENTERED = ("y_center", "x_center", "box_height", "box_width")


def guess_columns(headings: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return {what is meant: heading}; ``given`` ones count before the guess.

    Raises
    ------
    UnreadableError
        If a given one is not there, or image or box cannot be told.
    """
    for role, heading in given.items():
        if role not in ROLES:
            raise UnreadableError(f"has no use for '{short(role)}': use {', '.join(ROLES)}")
        if heading and heading not in headings:
            raise UnreadableError(
                f"has no column '{short(heading)}'; it has {_listed(headings)}", "no-column"
            )
    plain = {re.sub(r"[^a-z0-9]", "", h.lower()): h for h in reversed(headings) if h}
    found = {
        role: next(plain[n] for n in names if n in plain)
        for role, names in ROLES.items()
        if role not in given and any(n in plain for n in names)
    }
    found |= {role: heading for role, heading in given.items() if heading}
    for unused in _unused(found):
        if unused not in given:
            found.pop(unused, None)
    if "image" not in found:
        raise UnreadableError(
            f"has no column that names the image; it has {_listed(headings)}. Say which one with "
            "--columns image=HEADING",
            "no-column",
        )
    if box_roles(found) is None:
        raise UnreadableError(
            f"has no columns for the box's sides; it has {_listed(headings)}. Say which with "
            "--columns xmin=HEADING,ymin=HEADING,xmax=HEADING,ymax=HEADING",
            "no-column",
        )
    return found


def box_roles(found: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return which four columns make the box: corners, corner and size, or centre and size."""
    return next((r for r in (CORNERS, SIZED, CENTERED) if all(k in found for k in r)), None)


def _unused(found: Mapping[str, str]) -> list[str]:
    """Return what is not meant after all: a lone ``width`` is the box's or the image's."""
    roles = box_roles(found)
    if roles is None:
        return []
    if roles is CORNERS:
        return ["x", "y", "x_center", "y_center", "box_width", "box_height"]
    own = {found["box_width"], found["box_height"]}
    return [r for r in ("image_width", "image_height") if found.get(r) in own]


def headings_of(first: Sequence[str]) -> tuple[list[str], dict[str, str], bool]:
    """Return headings, what they mean if that is known already, and whether they are a row.

    A table without headings is read as RetinaNet writes it: image, x1, y1, x2, y2, class.
    """
    values = [not math.isnan(number(cell)) for cell in first]
    if sum(values) < 4:
        return [cell.strip() for cell in first], {}, False
    names = [f"column {k}" for k in range(1, len(first) + 1)]
    texts = [n for n, is_number in zip(names, values, strict=True) if not is_number]
    sides = [n for n, is_number in zip(names, values, strict=True) if is_number]
    known = dict(zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=False))
    known |= dict(zip(("image", "class"), (*texts[:1], *texts[1:][-1:]), strict=False))
    return names, known, True


def _listed(headings: Sequence[str]) -> str:
    shown = ", ".join(short(h, 30) or "(empty)" for h in headings[:12])
    return shown + (f" and {len(headings) - 12} more" if len(headings) > 12 else "")
