"""Which docks there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .dock import Dock
    from .workspace import Workspace

DOCKS = ("Project", "Detect", "Review", "Learn", "Train", "Evaluate", "Batch")
WIDE_DOCKS = ("Gallery", "Map", "Plate")
"""Docks of many cells or images, opened when they are asked for."""


def make_dock(name: str, workspace: Workspace) -> Dock:
    """Return a new dock; its widgets are imported by then, not before."""
    from .widgets.cell_map import MapDock
    from .widgets.detect import DetectDock
    from .widgets.evaluate import EvaluateDock
    from .widgets.gallery import GalleryDock
    from .widgets.learn import LearnDock
    from .widgets.plate import PlateDock
    from .widgets.project import ProjectDock
    from .widgets.review import ReviewDock
    from .widgets.scan import BatchDock
    from .widgets.train import TrainDock

    return {
        "Project": ProjectDock,
        "Detect": DetectDock,
        "Review": ReviewDock,
        "Learn": LearnDock,
        "Gallery": GalleryDock,
        "Map": MapDock,
        "Plate": PlateDock,
        "Train": TrainDock,
        "Evaluate": EvaluateDock,
        "Batch": BatchDock,
    }[name](workspace)
