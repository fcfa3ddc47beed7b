"""The networks that can tell cells apart, and where their weights are.

A new one is one entry of ``ARCHITECTURES``. torch is imported only when a body is built. A body
is the published network without its last layers, and gives one vector a picture: the mean over
its last map, so that pictures of any size fit. VGG therefore comes without its two wide layers
(119 of 138 million weights).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

NormLayer = Callable[[int], Any]


@dataclass(frozen=True)
class Architecture:
    """A body that turns a picture into features.

    Attributes
    ----------
    body : callable
        Makes the untrained body with a norm layer and the picture's side, px.
    features : int
        How many features it gives.
    parts : tuple of tuple of str
        Its children from the pixels on, in groups that learn at one rate.
    target : str
        The child whose map explains an answer: the last one of stride 16, since one of 32 tells
        too little of where; empty where there is none.
    imagenet : str
        Name of torchvision's weights.
    eps : float
        Of its BatchNorm layers.
    size_px : int
        Side of the pictures unless another is chosen.
    multiple_px : int
        The side must be a multiple of this.
    target_stride : int
        Picture px per px of the target's map.
    has_norms : bool
        Whether it has norms of the kind that is chosen.
    """

    summary: str
    body: Callable[[NormLayer, int], nn.Module]
    features: int
    parts: tuple[tuple[str, ...], ...]
    target: str
    imagenet: str
    eps: float = 1e-5
    size_px: int = 160
    multiple_px: int = 1
    target_stride: int = 16
    has_norms: bool = True


def _pooled(name: str, **more: Any) -> Callable[[NormLayer, int], nn.Module]:
    """Return the maker of a torchvision network with ``features``, and a mean at its end."""

    def make(norm: NormLayer, size_px: int) -> nn.Module:
        from torch import nn
        from torchvision import models

        extra = {} if name.startswith(("vgg", "convnext")) else {"norm_layer": norm}
        network = getattr(models, name)(weights=None, **extra, **more)
        body = nn.Sequential()
        body.features = network.features
        body.avgpool = nn.AdaptiveAvgPool2d(1)
        if name.startswith("convnext"):
            body.classifier = nn.Sequential(network.classifier[0])  # a norm over the channels
        body.flatten = nn.Flatten()
        return body

    return make


def _resnet(name: str) -> Callable[[NormLayer, int], nn.Module]:
    def make(norm: NormLayer, size_px: int) -> nn.Module:
        from torch import nn
        from torchvision import models

        network: nn.Module = getattr(models, name)(weights=None, norm_layer=norm)
        network.fc = nn.Identity()
        return network

    return make


def _vit(norm: NormLayer, size_px: int) -> nn.Module:
    from torch import nn
    from torchvision.models import vit_b_16

    network: nn.Module = vit_b_16(weights=None, image_size=size_px)
    network.heads = nn.Identity()
    return network


def _stages(*ends: int) -> tuple[tuple[str, ...], ...]:
    """Return the names of ``features`` children, parted after each of ``ends``."""
    parts, first = [], 0
    for end in ends:
        parts.append(tuple(f"features.{k}" for k in range(first, end)))
        first = end
    return tuple(parts)


_RESNET = (("conv1", "bn1", "layer1"), ("layer2",), ("layer3",), ("layer4",))

ARCHITECTURES: dict[str, Architecture] = {
    "mobilenet_v2": Architecture(
        "MobileNetV2: for any computer",
        _pooled("mobilenet_v2"),
        1280,
        _stages(4, 7, 14, 19),
        "features.13",
        "MobileNet_V2_Weights.IMAGENET1K_V1",
    ),
    "mobilenet_v3_small": Architecture(
        "MobileNetV3-Small: the quickest",
        _pooled("mobilenet_v3_small"),
        576,
        _stages(2, 4, 9, 13),
        "features.8",
        "MobileNet_V3_Small_Weights.IMAGENET1K_V1",
        eps=1e-3,
    ),
    "mobilenet_v3_large": Architecture(
        "MobileNetV3-Large: for any computer",
        _pooled("mobilenet_v3_large"),
        960,
        _stages(4, 7, 13, 17),
        "features.12",
        "MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        eps=1e-3,
    ),
    "efficientnet_b0": Architecture(
        "EfficientNet-B0: small and accurate, slow to train on a CPU",
        _pooled("efficientnet_b0"),
        1280,
        _stages(3, 4, 6, 9),
        "features.5",
        "EfficientNet_B0_Weights.IMAGENET1K_V1",
        size_px=224,
    ),
    "resnet18": Architecture(
        "ResNet-18: the smaller classic",
        _resnet("resnet18"),
        512,
        _RESNET,
        "layer3",
        "ResNet18_Weights.IMAGENET1K_V1",
    ),
    "resnet50": Architecture(
        "ResNet-50: wants a GPU",
        _resnet("resnet50"),
        2048,
        _RESNET,
        "layer3",
        "ResNet50_Weights.IMAGENET1K_V2",
        size_px=224,
    ),
    "vgg16": Architecture(
        "VGG16, mean over its last map: wants a GPU",
        _pooled("vgg16"),
        512,
        _stages(10, 17, 24, 31),
        "features.29",
        "VGG16_Weights.IMAGENET1K_V1",
        size_px=224,
        has_norms=False,
    ),
    "vgg19": Architecture(
        "VGG19, mean over its last map: wants a GPU",
        _pooled("vgg19"),
        512,
        _stages(10, 19, 28, 37),
        "features.35",
        "VGG19_Weights.IMAGENET1K_V1",
        size_px=224,
        has_norms=False,
    ),
    "convnext_tiny": Architecture(
        "ConvNeXt-Tiny: LayerNorm throughout; wants a GPU",
        _pooled("convnext_tiny"),
        768,
        (*_stages(2, 4, 6), ("features.6", "features.7", "classifier")),
        "features.5",
        "ConvNeXt_Tiny_Weights.IMAGENET1K_V1",
        size_px=224,
        has_norms=False,
    ),
    "vit_b_16": Architecture(
        "ViT-B/16, a transformer: LayerNorm throughout; wants a GPU",
        _vit,
        768,
        (
            ("conv_proj",),
            *(tuple(f"encoder.layers.encoder_layer_{k + j}" for j in range(3)) for k in (0, 3, 6)),
            (*(f"encoder.layers.encoder_layer_{k}" for k in (9, 10, 11)), "encoder.ln"),
        ),
        "",
        "ViT_B_16_Weights.IMAGENET1K_V1",
        size_px=224,
        multiple_px=16,
        has_norms=False,
    ),
}


def architecture(name: str) -> Architecture:
    """Return an entry of the registry.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"There is no classifier architecture '{name}'. Known are: {known}.")
    return ARCHITECTURES[name]
