"""The commands that bring images in, say what they are for, and take them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.core.errors import CellalError
from napari_cellal.core.records import Split
from napari_cellal.io.store import Project

from .running import run, say

if TYPE_CHECKING:
    import argparse

    from napari_cellal.io.groups import Grouping

    from .running import Result


def add(a: argparse.Namespace) -> Result:
    """Add images."""
    from napari_cellal.workflows import adding, splitting

    pairs = [item.partition("=") for item in a.split]
    if any(not path for _, _, path in pairs):
        raise CellalError("--split takes NAME=FILE, e.g. train=train.txt.")
    splits = splitting.read_splits({name: path for name, _, path in pairs})
    if a.dry_run:
        if not a.pattern:
            raise CellalError("--dry-run shows what --pattern would do; name one.")
        return _preview(adding.find_groups(a.paths, a.pattern))
    names = tuple(a.channels.split(",")) if a.channels else ()
    options = adding.LookOptions(a.pattern, names, a.z, a.t)
    with Project.open(a.project) as project:
        looked = run(adding.look_at_images(a.paths, options))
        if not looked.images:
            problem = next(iter(looked.problems), f"No image fits the pattern {a.pattern}.")
            raise CellalError(problem)
        added = adding.add_looked(project, looked, splits)
        late = run(adding.make_pyramids(project, [r.image_id for r in added.records]))
    return {
        "added": len(added.records),
        "known": added.known,
        "found": added.found,
        "problems": [*added.problems, *late],
        "notes": list(added.notes),
    }


def _preview(grouping: Grouping) -> Result:
    return {
        "channels": list(grouping.channels),
        "images": [
            {
                "name": group.name,
                "place": dict(group.place),
                "files": [str(file) for file in group.files],
                "missing": list(group.missing),
            }
            for group in grouping.groups
        ],
        "unmatched": [str(file) for file in grouping.unmatched],
        "problems": list(grouping.problems),
    }


def split(a: argparse.Namespace) -> Result:
    """Say what images are for."""
    from napari_cellal.workflows import finding, splitting

    with Project.open(a.project) as project:
        found = finding.find_images(project, a.images)
        changed = splitting.change_split(project, found, Split(a.split))
        if changed and project.models:
            say("Models that are there may have been trained on these images: train anew.")
        splits = [r.split for r in project.images.values()]
        return {
            "changed": len(changed),
            "with_group": len(set(changed) - set(found)),
            "by_split": {s.value: splits.count(s) for s in Split},
        }


def refresh(a: argparse.Namespace) -> Result:
    """Look at the image files again."""
    from napari_cellal.workflows import refreshing

    with Project.open(a.project) as project:
        found = run(refreshing.refresh(refreshing.files_to_check(project)))
        names = [project.images[key].name for key in found.changed]
        accepted = refreshing.accept_changes(project, found) if a.accept else 0
    return {
        "images": found.images,
        "changed": names,
        "accepted": accepted,
        "problems": list(found.problems),
    }


def remove(a: argparse.Namespace) -> Result:
    """Take images and their boxes out of the project."""
    from napari_cellal.workflows import finding, removing

    with Project.open(a.project) as project:
        found = finding.find_images(project, a.images)
        removal = removing.look_at_removal(project, found)
        removing.remove_images(project, removal, with_reviewed=a.with_reviewed)
    return {
        "removed": len(removal.image_ids),
        "cells": removal.cells,
        "reviewed": removal.reviewed,
        "images": list(removal.names),
    }
