"""One step of learning: a batch, its loss, its gradients, and what to do where memory is short."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from napari_cellal.core.errors import ModelError

from .memory import is_out_of_memory

if TYPE_CHECKING:
    from .settings import CourseSettings

log = logging.getLogger(__name__)
Loss: TypeAlias = Callable[[list[Any]], Tensor]
"""Of pictures, the mean over them, float32[]."""
_OPTIMIZERS = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "radam": torch.optim.RAdam,
}


class Stepper:
    """Teaches a network, batch by batch.

    Parameters
    ----------
    parts : sequence of sequence of parameters
        The network from the pixels to the answer: each part learns at ``layer_decay`` times the
        rate of the next (Howard and Ruder, arXiv:1801.06146).
    held : int
        So many of the first parts can be held as they are; see `freeze`.
    loss : callable
        Gives the loss of a list of pictures.
    """

    def __init__(
        self,
        network: nn.Module,
        parts: Sequence[Sequence[nn.Parameter]],
        held: int,
        loss: Loss,
        device: torch.device,
        settings: CourseSettings,
    ) -> None:
        self._network = network
        self._loss = loss
        self._device = device
        self._settings = settings
        self._at_once = settings.batch_size
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        self._held: list[nn.Parameter] = []
        for k, part in enumerate(parts):
            learned = [p for p in part if p.requires_grad]
            if k < held:
                self._held += learned
            share = settings.layer_decay ** (len(parts) - 1 - k)
            for parameter in learned:
                # decay pulls norms and biases to 0 for nothing
                decay = settings.weight_decay if parameter.ndim > 1 else 0.0
                groups.setdefault((share, decay), []).append(parameter)
        self._learned = [p for group in groups.values() for p in group]
        rows: list[dict[str, Any]] = [
            {"params": group, "weight_decay": decay, "share": share}
            for (share, decay), group in groups.items()
        ]
        self.optimizer = _OPTIMIZERS[settings.optimizer](rows, lr=settings.learning_rate)

    @property
    def note(self) -> str:
        """What the person should know about the memory; empty if all is well."""
        if self._at_once == self._settings.batch_size:
            return ""
        return f"; memory is short: {self._at_once} of {self._settings.batch_size} at once"

    def freeze(self, frozen: bool) -> None:
        """Hold the first parts as they are, or let them learn."""
        for parameter in self._held:
            parameter.requires_grad_(not frozen)

    def step(self, batch: list[Any], rate: float, number: int) -> float:
        """Learn from one batch and return its loss; nothing is learned if it is no number.

        Parameters
        ----------
        number : int
            What is drawn by chance in the network depends on this and the seed alone.

        Raises
        ------
        ModelError
            If not even one picture fits the memory.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._network.train()
        torch.manual_seed(self._settings.seed + 1_000_003 * number)
        while (value := self._try_gradients(batch)) is None:
            self._make_smaller()
        if not math.isfinite(value):
            return value
        norm = torch.nn.utils.clip_grad_norm_(self._learned, self._settings.clip_norm)
        if not bool(norm.isfinite()):
            return math.nan
        self.optimizer.step()
        return value

    def _try_gradients(self, batch: list[Any]) -> float | None:
        """Return the loss, its gradients being set, or None where memory was short."""
        self.optimizer.zero_grad(set_to_none=True)
        value = 0.0
        try:
            # no norm layer looks across a batch, so its parts add up to the whole
            for first in range(0, len(batch), self._at_once):
                part = batch[first : first + self._at_once]
                loss = self._loss(part) * (len(part) / len(batch))
                value += float(loss.detach())
                if not math.isfinite(value):
                    break
                loss.backward()  # type: ignore[no-untyped-call]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None
        return value

    def _make_smaller(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self._at_once == 1:
            raise ModelError(
                "The memory does not hold even one training picture. Close other programs that "
                "use the GPU, make the pictures smaller, or choose the device 'cpu'."
            )
        self._at_once //= 2
        log.warning("Memory was short: %d pictures at once from now on.", self._at_once)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
