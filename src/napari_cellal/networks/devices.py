"""Where the arithmetic is done: CUDA, then Apple's MPS, then the CPU."""

from __future__ import annotations

import functools
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
    """Return mixed precision: bfloat16 on a GPU or CPU that has it, float32 elsewhere.

    On such a CPU (AMD from Zen 4 on, Intel's servers) a step of training takes a quarter less
    time and a detection a third; figures are in docs/benchmarks.md.
    """
    if device.type == "cuda":
        usable = torch.cuda.is_bf16_supported()
    else:
        usable = device.type == "cpu" and _has_bfloat16()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=usable)


@functools.cache
def _has_bfloat16() -> bool:
    """Return whether the CPU multiplies in bfloat16 itself; imitating it is slower than float32."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # from torch 2.11 on
    known = ask() if ask else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
