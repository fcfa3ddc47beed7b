"""What the computer refuses, in a sentence: memory, disk, rights."""

from __future__ import annotations

import errno

from napari_cellal.networks.memory import is_out_of_memory

_FULL = {errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC}


def in_words(error: BaseException) -> str:
    """Return what a person should read; empty for an error that is a fault of ours."""
    if is_out_of_memory(error):
        return (
            "The computer ran out of memory. Close other programs, or work on fewer or "
            "smaller images."
        )
    if not isinstance(error, OSError):
        return ""
    if error.errno in _FULL:
        return (
            "The disk is full. Free some space and repeat the step; what was kept before is as "
            "it was."
        )
    what = "A file" if error.filename is None else f"'{error.filename}'"
    return f"{what} cannot be read or written ({error.strerror or error})."
