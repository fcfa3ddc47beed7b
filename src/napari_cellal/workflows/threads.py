"""One thread of the processor where several would only wait for each other."""

from __future__ import annotations

import contextlib
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from threadpoolctl import ThreadpoolController


def algebra_on_one_thread() -> contextlib.AbstractContextManager[object]:
    """Return a context in which linear algebra uses one thread.

    The matrices are small: beside a busy core, several threads that wait for each other
    took 330 ms where one takes 11 ms.
    """
    return _thread_pools().limit(limits=1)  # type: ignore[no-any-return]


@cache
def _thread_pools() -> ThreadpoolController:
    # Looking for the loaded libraries takes 4 ms, a third of a suggestion. Every library
    # that a suggestion uses is loaded by the import.
    from threadpoolctl import ThreadpoolController

    import napari_cellal.active.suggest  # noqa: F401

    return ThreadpoolController()


@contextlib.contextmanager
def torch_on_one_thread(device: str) -> Iterator[None]:
    """Let torch use one thread meanwhile, where ``device`` is the processor.

    Several small networks side by side get more done than one on several threads, and what
    they find does not depend on how many cores a computer has.
    """
    if device != "cpu":
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
