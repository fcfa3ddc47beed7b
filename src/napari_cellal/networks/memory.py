"""Where memory is short. Light: no torch."""

from __future__ import annotations

import errno

_WORDS = (
    "out of memory",  # CUDA: torch.OutOfMemoryError, and RuntimeError from its libraries; MPS
    "defaultcpuallocator",  # "can't allocate memory" on Linux, "not enough memory" on Windows
    "status_alloc_failed",  # cuBLAS, cuDNN
)
"""What a RuntimeError of torch says then; found nowhere else in torch 2.11 to 2.15."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was short, be it the GPU's or the computer's.

    torch has an error of its own for GPUs alone (``torch.OutOfMemoryError``, a RuntimeError);
    for the CPU it raises a plain RuntimeError. numpy raises a MemoryError, the operating system
    an OSError.
    """
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, RuntimeError):
        text = str(error).lower()
        return any(words in text for words in _WORDS)
    return isinstance(error, MemoryError)
