"""One step of learning: a batch, its loss, its gradients, and what to do where memory is short."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_cellal.core.errors import ModelError
from napari_cellal.networks.devices import autocast

if TYPE_CHECKING:
    from .augment import Sample
    from .family import CellNetwork
    from .settings import TrainSettings

log = logging.getLogger(__name__)


def body_stages(network: CellNetwork) -> list[list[nn.Parameter]]:
    """Return the parameters of the body by stride, finest first: one list a map of the pyramid."""
    ends = network.backbone.body.return_layers
    stages: list[list[nn.Parameter]] = [[]]
    for name, child in network.backbone.body.named_children():
        stages[-1] += child.parameters()
        if name in ends:
            stages.append([])
    return [stage for stage in stages if stage]


class Stepper:
    """Teaches a network, batch by batch, with AdamW."""

    def __init__(self, network: CellNetwork, device: torch.device, settings: TrainSettings) -> None:
        self._network = network
        self._device = device
        self._settings = settings
        self._learned = [p for p in network.parameters() if p.requires_grad]
        self._stages = body_stages(network)
        self.optimizer = torch.optim.AdamW(
            self._groups(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._at_once = settings.batch_size

    @property
    def note(self) -> str:
        """What the person should know about the memory; empty if all is well."""
        if self._at_once == self._settings.batch_size:
            return ""
        return f"; memory is short: {self._at_once} of {self._settings.batch_size} at once"

    def _groups(self) -> list[dict[str, Any]]:
        """Return the parameters by how fast they learn, the heads first.

        The finest stage of the body learns slowest: Howard and Ruder, arXiv:1801.06146.
        """
        factor = self._settings.stage_factor
        depth = {p: len(self._stages) - k for k, s in enumerate(self._stages) for p in s}
        groups: list[dict[str, Any]] = []
        for deep in range(len(self._stages) + 1 if factor != 1 else 1):
            mine = [p for p in self._learned if factor == 1 or depth.get(p, 0) == deep]
            each = {"factor": factor**deep}
            groups.append({"params": [p for p in mine if p.ndim > 1], **each})
            # decay pulls norms and biases to 0 for nothing
            flat = [p for p in mine if p.ndim <= 1]
            groups.append({"params": flat, "weight_decay": 0.0, **each})
        return [group for group in groups if group["params"]]

    def freeze(self, on: bool) -> None:
        """Hold the body's first stages as they are, or let them learn."""
        held = {p for stage in self._stages[: self._settings.frozen_stages] for p in stage}
        for parameter in self._learned:
            if parameter in held:
                parameter.requires_grad_(not on)

    def step(self, batch: list[Sample], rate: float, number: int) -> float:
        """Learn from one batch and return its loss; nothing is learned if it is no number.

        Parameters
        ----------
        number : int
            Of the step, from 0: what the samplers of anchors and proposals draw depends on it
            and on the seed alone.

        Raises
        ------
        ModelError
            If not even one picture fits the memory.
        """
        torch.manual_seed(self._settings.seed + 1_000_003 * number)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        self._network.train()
        while (value := self._try_gradients(batch)) is None:
            self._make_smaller()
        if not math.isfinite(value):
            return value
        norm = torch.nn.utils.clip_grad_norm_(self._learned, self._settings.clip_norm)
        if not bool(norm.isfinite()):
            return math.nan
        self.optimizer.step()
        return value

    def _try_gradients(self, batch: list[Sample]) -> float | None:
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
        except torch.OutOfMemoryError:
            return None
        return value

    def _make_smaller(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self._at_once == 1:
            raise ModelError(
                "The memory does not hold even one training picture. Close other programs that "
                "use the GPU, make the crops smaller, or choose the device 'cpu'."
            )
        self._at_once //= 2
        log.warning("Memory was short: %d pictures at once from now on.", self._at_once)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _loss(self, batch: list[Sample]) -> Tensor:
        """Return float32[], the sum of all losses."""
        images = [sample.pixels.to(self._device) for sample in batch]
        targets = [
            {key: value.to(self._device) for key, value in sample.target().items()}
            for sample in batch
        ]
        with autocast(self._device):
            losses: dict[str, Tensor] = self._network(images, targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()
