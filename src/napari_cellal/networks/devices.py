"""Where the arithmetic is done: CUDA, then Apple's MPS, then the CPU."""

from __future__ import annotations

import platform
from typing import Literal

import torch

from napari_cellal.core.errors import ModelError

DeviceName = Literal["auto", "cuda", "mps", "cpu"]


def choose_device(name: str = "auto") -> torch.device:
    """Return the device asked for; ``auto`` is the fastest one there is.

    Raises
    ------
    ModelError
        If this computer does not have the device.
    """
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in has.items() if there))
    if name not in has:
        raise ModelError(f"There is no device called '{name}'. Choose auto, cuda, mps or cpu.")
    if not has[name]:
        words = {"cuda": "no NVIDIA GPU that torch can use", "mps": "no Apple GPU"}[name]
        raise ModelError(f"This computer has {words}. Choose the device 'auto' or 'cpu'.")
    return torch.device(name)


def describe_device(device: torch.device) -> str:
    """Return the device in words, e.g. ``CPU, 2 threads`` or ``NVIDIA H200``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "mps":
        return f"Apple GPU ({platform.processor() or 'MPS'})"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def autocast(device: torch.device) -> torch.autocast:
    """Return mixed precision: bfloat16 on a GPU that has it, float32 elsewhere."""
    usable = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)
