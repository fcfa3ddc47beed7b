"""What of a detector learns how fast, and its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_cellal.networks.devices import autocast
from napari_cellal.networks.stepping import Stepper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .augment import Sample
    from .family import CellNetwork
    from .settings import TrainSettings


def body_stages(network: CellNetwork) -> list[list[nn.Parameter]]:
    """Return the parameters of the body by stride, finest first: one list a map of the pyramid."""
    ends = network.backbone.body.return_layers
    stages: list[list[nn.Parameter]] = [[]]
    for name, child in network.backbone.body.named_children():
        stages[-1] += child.parameters()
        if name in ends:
            stages.append([])
    return [stage for stage in stages if stage]


def stepper_of(network: CellNetwork, device: torch.device, settings: TrainSettings) -> Stepper:
    """Return what teaches the network: the body stage by stage, and all that stands on it."""
    stages = body_stages(network)
    body = {p for stage in stages for p in stage}
    heads = [p for p in network.parameters() if p not in body]

    def loss(batch: Sequence[Sample]) -> Tensor:
        return loss_of(network, batch, device)

    return Stepper(network, [*stages, heads], settings.frozen_stages, loss, device, settings)


def loss_of(network: CellNetwork, batch: Sequence[Sample], device: torch.device) -> Tensor:
    """Return float32[], the sum of all losses of the network."""
    images = [sample.pixels.to(device) for sample in batch]
    targets = [
        {key: value.to(device) for key, value in sample.target().items()} for sample in batch
    ]
    with autocast(device):
        losses: dict[str, Tensor] = network(images, targets)
    return torch.stack([loss.float() for loss in losses.values()]).sum()
