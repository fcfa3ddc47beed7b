"""The running average of a network's weights, which finds cells more steadily than the last ones.

Exponential, with a slow start (Tarvainen and Valpola, arXiv:1703.01780): the first steps are
forgotten soon. A share of the starting weights may stay in what comes out (Wortsman et al.,
arXiv:2109.01903): a few images teach a network their own accidents too.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class WeightAverage:
    """Follows a network step by step.

    Parameters
    ----------
    decay : float, 0..1
        Share of the average that a step keeps, once there were many; 0 is no average.
    keep_start : float, 0..1
        Share in `result` of the weights that the network has now.
    """

    def __init__(self, network: nn.Module, decay: float, keep_start: float = 0.0) -> None:
        self._network = network
        self._decay = decay
        self._keep_start = keep_start
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self._start = {k: v.clone() for k, v in self.state.items()} if keep_start else {}

    @property
    def result(self) -> dict[str, Tensor]:
        """The weights to be used: the average, with its share of the starting weights."""
        share = self._keep_start
        return self.state | {
            key: self.state[key].lerp(first, share)
            for key, first in self._start.items()
            if first.is_floating_point()
        }

    def update(self, step: int) -> None:
        """Take in the weights after ``step`` steps, counted from 1."""
        keep = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in self._network.state_dict().items():
                mine = self.state[key]
                if mine.is_floating_point():
                    mine.lerp_(value, 1 - keep)
                else:
                    mine.copy_(value)

    @contextmanager
    def put_in(self) -> Iterator[None]:
        """Have the network use `result` for a while."""
        own = {k: v.detach().clone() for k, v in self._network.state_dict().items()}
        self._network.load_state_dict(self.result)
        try:
            yield
        finally:
            self._network.load_state_dict(own)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from an average that was kept."""
        for key, value in state.items():
            self.state[key].copy_(value)
