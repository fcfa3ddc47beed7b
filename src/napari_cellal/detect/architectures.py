"""The networks that can be trained: a body, the maps taken from it, and where weights are.

A new one is one entry of ``ARCHITECTURES``. torch is imported only when a body is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

NormLayer = Callable[[int], Any]


@dataclass(frozen=True)
class Architecture:
    """A network over a feature pyramid.

    Attributes
    ----------
    body : callable
        Makes the untrained backbone with the given norm layer.
    layers : {name of a child of the body: channels}
        The maps of the pyramid, finest first, each the last of its resolution. torchvision's
        stock MobileNet pyramid has stride 32 twice, too coarse for platelets (AP50 .16
        against .90 with finer maps on BCCD).
    strides : tuple of int
        Image pixels per map pixel; one more than ``layers``, the pyramid adds a pooled map.
    width, head_width : int
        Channels of the pyramid and of the box head; a single stage has no such head.
    short_side_px : (int, int)
        The range into which the fitted scale brings the short side of a usual image.
    small_box_px : int
        Size which a small cell (10th percentile) should have, network px.
    coco, imagenet : str
        Names of torchvision weights; empty where there are none.
    shipped : bool
        Whether a training can start from the detector that comes with the package.
    body_prefix : str
        What stands before the body's keys in ImageNet weights.
    family : str
        The kind of network over the pyramid, a key of ``network.FAMILIES``.
    head_convs : int
        Convolutions of a single stage's head, for classes and for boxes.
    second : bool
        Whether Faster R-CNN has the heads of its second version (Li et al., arXiv:2111.11429):
        two convolutions for regions, four for boxes, and norms in them and in the pyramid.
    """

    summary: str
    body: Callable[[NormLayer], nn.Module]
    layers: dict[str, int]
    strides: tuple[int, ...]
    width: int
    head_width: int
    short_side_px: tuple[int, int]
    small_box_px: int
    coco: str = ""
    imagenet: str = ""
    shipped: bool = False
    body_prefix: str = ""
    family: str = "faster_rcnn"
    head_convs: int = 4
    second: bool = False

    @property
    def masks(self) -> bool:
        """Whether the network gives masks, and learns from them."""
        return self.family == "mask_rcnn"


def _mobilenet_v3(norm: NormLayer) -> nn.Module:
    from torchvision.models import mobilenet_v3_large

    return mobilenet_v3_large(weights=None, norm_layer=norm).features  # type: ignore[no-any-return]


def _mobilenet_v2(norm: NormLayer) -> nn.Module:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(weights=None, norm_layer=norm).features  # type: ignore[no-any-return]


def _resnet50(norm: NormLayer) -> nn.Module:
    from torchvision.models import resnet50

    return resnet50(weights=None, norm_layer=norm)  # type: ignore[no-any-return]


ARCHITECTURES: dict[str, Architecture] = {
    "mobilenet_v3": Architecture(
        "Faster R-CNN, MobileNetV3-Large with a fine pyramid; has COCO weights",
        body=_mobilenet_v3,
        layers={"6": 40, "12": 112, "16": 960},
        strides=(8, 16, 32, 64),
        width=128,
        head_width=512,
        short_side_px=(320, 416),
        small_box_px=28,
        coco="FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1",
        imagenet="MobileNet_V3_Large_Weights.IMAGENET1K_V1",
        body_prefix="features.",
    ),
    "resnet50": Architecture(
        "Faster R-CNN, ResNet-50 with a feature pyramid; wants a GPU",
        body=_resnet50,
        layers={"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048},
        strides=(4, 8, 16, 32, 64),
        width=256,
        head_width=1024,
        short_side_px=(480, 800),
        small_box_px=32,
        coco="FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
        imagenet="ResNet50_Weights.IMAGENET1K_V1",
    ),
    "mobilenet_v2": Architecture(
        "Faster R-CNN, MobileNetV2 with a fine pyramid; the shipped detector is one",
        body=_mobilenet_v2,
        layers={"6": 32, "13": 96, "18": 1280},
        strides=(8, 16, 32, 64),
        width=128,
        head_width=512,
        short_side_px=(320, 416),
        small_box_px=28,
        imagenet="MobileNet_V2_Weights.IMAGENET1K_V1",
        shipped=True,
        body_prefix="features.",
    ),
}
ARCHITECTURES |= {
    "resnet50_v2": replace(
        ARCHITECTURES["resnet50"],
        summary="Faster R-CNN, ResNet-50 with larger heads; a better start from COCO, the slowest",
        coco="FasterRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
        imagenet="ResNet50_Weights.IMAGENET1K_V2",
        second=True,
    ),
    "fcos_mobilenet_v2": replace(
        ARCHITECTURES["mobilenet_v2"],
        summary="FCOS, a single stage over MobileNetV2; for fields of many cells that stand close",
        head_width=0,
        family="fcos",
        head_convs=2,
    ),
    "fcos_resnet50": replace(
        ARCHITECTURES["resnet50"],
        summary="FCOS, a single stage over ResNet-50; has COCO weights, wants a GPU",
        layers={"layer2": 512, "layer3": 1024, "layer4": 2048},
        strides=(8, 16, 32, 64),
        head_width=0,
        coco="FCOS_ResNet50_FPN_Weights.COCO_V1",
        family="fcos",
    ),
}

_MASKS = {
    "mobilenet_v2_masks": (
        "mobilenet_v2",
        "Mask R-CNN, MobileNetV2: the outline of each cell too; starts from the shipped detector",
        "",
    ),
    "resnet50_masks": (
        "resnet50",
        "Mask R-CNN, ResNet-50: the outline of each cell too; has COCO weights, wants a GPU",
        "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    ),
    "resnet50_v2_masks": (
        "resnet50_v2",
        "Mask R-CNN, ResNet-50 with larger heads: the outline of each cell too; the slowest",
        "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
    ),
}
ARCHITECTURES |= {
    name: replace(ARCHITECTURES[same], summary=summary, coco=coco, family="mask_rcnn")
    for name, (same, summary, coco) in _MASKS.items()
}

_OLD_NAMES = {"fast": "mobilenet_v3", "accurate": "resnet50"}  # on cards of version 0.1's models


def architecture(name: str) -> Architecture:
    """Return an entry of the registry.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    name = _OLD_NAMES.get(name, name)
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"There is no detector architecture '{name}'. Known are: {known}.")
    return ARCHITECTURES[name]
