"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from napari_cellal.io.atomic import write_atomic

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.csv", "old")
    write_atomic(tmp_path / "a.csv", "new")
    assert (tmp_path / "a.csv").read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes with a name in a folder")
def test_what_is_no_plain_file_is_not_replaced(tmp_path: Path) -> None:
    pipe, link, folder = (tmp_path / name for name in ("pipe", "link", "folder"))
    os.mkfifo(pipe)
    link.symlink_to(pipe)  # as /dev/stdout is
    folder.mkdir()
    for path in (pipe, link, folder):
        with pytest.raises(OSError, match="no plain file"):
            write_atomic(path, "x")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [folder, link, pipe]
