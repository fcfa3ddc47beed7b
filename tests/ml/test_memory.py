"""Short memory is told from other faults, whoever says it."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from napari_cellal.networks.memory import is_out_of_memory

TOO_MUCH = 1 << 58


def ask_torch():
    torch.empty(TOO_MUCH)


def ask_numpy():
    np.empty(TOO_MUCH)


@pytest.mark.parametrize("ask", [ask_torch, ask_numpy])
def test_what_the_cpu_says_is_known(ask):
    with pytest.raises((RuntimeError, MemoryError)) as found:
        ask()
    assert is_out_of_memory(found.value)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB, max allowed: 1.10 GB)."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=str,
)
def test_what_other_devices_say_is_known(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("out of memory"),
    ],
    ids=str,
)
def test_other_faults_are_not_taken_for_it(error):
    assert not is_out_of_memory(error)
