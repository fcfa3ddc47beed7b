"""What the tests beside it share: the command line called in this process, torch on one thread."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cli_things import Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the one JSON object that a command prints."""
    from napari_cellal.cli import main

    def call(*argv: object) -> Any:
        capsys.readouterr()
        assert main([*map(str, argv), "--json"]) == 0
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out)

    return call


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Run:
    """Return the sentence that a command fails with."""
    from napari_cellal.cli import main

    def call(*argv: object) -> str:
        capsys.readouterr()
        assert main([*map(str, argv), "--json"]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        last = err.strip().splitlines()[-1]
        assert last.endswith((".", ")"))
        return last

    return call


@pytest.fixture(scope="module")
def one_torch_thread() -> Iterator[None]:
    """Let torch use one thread while a module's tests run."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
