"""Opens a napari window on a project, to stay or for a picture.

``python -m napari_cellal.ui.show PROJECT [--screenshot PNG] [--close]``
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from .workspace import Workspace


def settle(seconds: float) -> None:
    """Let the window work for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def show_project(folder: str, *, screenshot: str | None = None, stay: bool = True) -> None:
    """Open a window on a project; write a picture of it; stay until it is closed.

    Parameters
    ----------
    screenshot : str or None
        A PNG file to write.
    stay : bool
        Whether to run until the person closes the window.
    """
    viewer = napari.Viewer(show=False)
    viewer.window.resize(1280, 800)
    viewer.show()
    workspace = Workspace.of(viewer)
    workspace.dock_all("Review")
    viewer.window.resize(1280, 800)
    workspace.open_project(folder)
    if screenshot is not None:
        end = time.monotonic() + 20
        while not workspace.images.layers and time.monotonic() < end:
            settle(0.05)
        settle(0.5)
        Path(screenshot).parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(screenshot, canvas_only=False, flash=False)
    if stay:
        napari.run()
    else:
        viewer.close()
        settle(0.2)


def main() -> None:
    """Read the arguments and show the project."""
    parser = argparse.ArgumentParser("napari_cellal.ui.show")
    parser.add_argument("project")
    parser.add_argument("--screenshot")
    parser.add_argument("--close", action="store_true", help="close after the picture")
    given = parser.parse_args()
    show_project(given.project, screenshot=given.screenshot, stay=not given.close)


if __name__ == "__main__":
    main()
