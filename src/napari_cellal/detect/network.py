"""The networks by name. A new kind is a file with ``build``, and a line in ``FAMILIES``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import faster_rcnn, fcos, mask_rcnn
from .architectures import architecture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .family import CellNetwork
    from .settings import NetworkSettings

FAMILIES = {
    "faster_rcnn": faster_rcnn.build,
    "mask_rcnn": mask_rcnn.build,
    "fcos": fcos.build,
}


def build_detector(
    architecture_name: str,
    n_channels: int,
    n_classes: int,
    settings: NetworkSettings,
    mean: Sequence[float],
    std: Sequence[float],
) -> CellNetwork:
    """Return an untrained network.

    It takes a list of float32[C, h, w] in 0..1, already at ``settings.scale``. Training:
    with `heads.Target` dicts it returns the losses. Evaluation: one dict an image with
    ``boxes`` (x0, y0, x1, y1), ``scores``, ``labels`` from 1 and ``probabilities`` [M, K],
    and of networks with masks ``cell_masks`` [M, s, s] in 0..1, spread over each box.

    Parameters
    ----------
    n_classes : int
        Without the background.
    mean, std : one number a channel
        Of the intensities in 0..1.

    Notes
    -----
    State: the layers as torchvision initialises them; the first convolution is widened or
    narrowed to ``n_channels`` by `layers.widened`. Weights are put in by `weights` and `start`.
    """
    arch = architecture(architecture_name)
    return FAMILIES[arch.family](arch, n_channels, n_classes, settings, mean, std)
