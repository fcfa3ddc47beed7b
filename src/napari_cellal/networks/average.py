"""The running average of a network's weights, which finds cells more steadily than the last ones.

Exponential, with a slow start (Tarvainen and Valpola, arXiv:1703.01780): the first steps are
forgotten soon.
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
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._decay = decay
        self.state = {k: v.detach().clone() for k, v in network.state_dict().items()}

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
        """Have the network use the average for a while."""
        own = {k: v.detach().clone() for k, v in self._network.state_dict().items()}
        self._network.load_state_dict(self.state)
        try:
            yield
        finally:
            self._network.load_state_dict(own)

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from an average that was kept."""
        for key, value in state.items():
            self.state[key].copy_(value)
