"""What an explanation of an answer holds, whatever kind of network gave it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import interpolate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an answer rests on.

    Attributes
    ----------
    class_index : int
        The class that is explained.
    probabilities : float32[K]
    heat : float32[h, w], 0..1
        How much each place spoke for the class; 1 at the most.
    channels : float32[C]
        By how much the class is less probable without the channel; below 0 where it speaks
        against the class.
    method : str
        ``grad-cam``, ``gradient-activation``, ``attention`` or ``covering``.
    """

    class_index: int
    probabilities: NDArray[np.float32]
    heat: NDArray[np.float32]
    channels: NDArray[np.float32]
    method: str


def heat_of(values: Tensor, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a coarse map at a picture's size, 0..1; 0 where nothing speaks for the class."""
    spread = interpolate(values.clamp(min=0)[None, None], size, mode="bilinear")[0, 0]
    most = float(spread.max())
    return np.asarray(spread / most if most > 0 else spread, np.float32)


@contextmanager
def differentiable(network: nn.Module) -> Iterator[None]:
    """Have a network give gradients as it answers, whatever of it is frozen."""
    network.eval()
    with torch.inference_mode(False), torch.enable_grad():
        try:
            yield
        finally:
            network.zero_grad(set_to_none=True)


def without_each(picture: Tensor, mean: Tensor) -> Tensor:
    """Return float32[C + 1, C, h, w]: a picture as it is, then without each of its channels.

    A channel that is taken out has the mean of the training pictures everywhere.

    Parameters
    ----------
    mean : float32[C]
    """
    n = len(picture)
    variants = picture.repeat(n + 1, 1, 1, 1)
    for k in range(n):
        variants[k + 1, k] = mean[k]
    return variants
