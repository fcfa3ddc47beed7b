"""What all tests share: one thread for arithmetic, and where the real images lie."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# Small matrices are slower on many threads, and other work runs on this machine. Before
# numpy is imported, because BLAS looks once; child processes inherit it.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: NAPARI_CELLAL_DATA or ../shared/data; skips without."""
    for place in (os.environ.get("NAPARI_CELLAL_DATA"), SHARED):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip(f"neither NAPARI_CELLAL_DATA nor {SHARED} holds data")


@pytest.fixture(scope="session")
def smears(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six drawn smears, 160 x 200 px, with VOC files and split lists.

    Not to be written to: all tests share it.
    """
    from napari_cellal.io.samples.write import write_samples

    folder = tmp_path_factory.mktemp("smears")
    write_samples(folder, "smear", 6, 0, shape=(160, 200), cell_px=28)
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Mesa's LLVM, which the window loads, and triton's, which torch loads, bear each other in
    # one order only: else importing torch ends the process. The window itself never does.
    items.sort(key=lambda item: "ui" in Path(item.path).relative_to(Path(__file__).parent).parts)
