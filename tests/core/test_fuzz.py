"""A short run of benchmarks/fuzz.py, and that it would notice."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_cellal.core.errors import CellalError

if TYPE_CHECKING:
    from types import ModuleType

PLACE = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cellal_fuzz", PLACE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cellal_fuzz"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_mutated_files_crash_no_reader(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    # The memory of this process is that of other tests as well.
    monkeypatch.setattr(fuzz, "MEMORY_BYTES", 1e15)
    for name in fuzz.READERS:
        result = fuzz.fuzz(name, 25, 7)
        assert result["failures"] == []
        assert result["files"] == 25


def _crash(_: Path) -> None:
    raise ValueError


def _hang(_: Path) -> None:
    time.sleep(20)


def _refuse(_: Path) -> None:
    raise CellalError("a.json is damaged: export it again.")


def _ramble(_: Path) -> None:
    raise CellalError("line\nline")


def _crash_on_change(folder: Path) -> None:
    json.loads((folder / "a.json").read_text())


@pytest.mark.parametrize(
    ("read", "failures"),
    [(_crash, 3), (_hang, 3), (_ramble, 3), (_refuse, 0), (_crash_on_change, None)],
)
def test_it_notices(
    fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch, read: Any, failures: int | None
) -> None:
    def make(folder: Path) -> list[Path]:
        (folder / "a.json").write_text(json.dumps({"a": [1, 2, {"b": "text" * 20}]}))
        return [folder / "a.json"]

    monkeypatch.setattr(fuzz, "MEMORY_BYTES", 1e15)
    monkeypatch.setattr(fuzz, "HANG_S", 1)
    monkeypatch.setitem(fuzz.READERS, "x", fuzz.Reader(make, read))
    result = fuzz.fuzz("x", 3 if failures is not None else 30, 0)
    if failures is None:
        assert len(result["failures"]) > 10
    else:
        assert len(result["failures"]) == failures
