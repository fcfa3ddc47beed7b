"""What changes a classifier's results. No torch here: the window makes forms from these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_cellal.networks.settings import CourseSettings

Head = Literal["linear", "logistic", "svm", "random_forest"]
"""``linear`` is trained with the network; the others learn from its features, left as they are."""
Norm = Literal["auto", "frozen", "group", "batch"]


class ViewSettings(BaseModel):
    """How a cell is shown to the network; kept on the model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size_px: int = Field(160, ge=16, le=1024)
    """Side of the square picture that the network sees."""
    context: float = Field(0.2, ge=0, le=4)
    """Margin around a cell's box on every side, as a share of its longer side."""
    field_px: float | None = Field(None, gt=0)
    """If set, cells are shown in a square of this side, image px, around the middle of their
    box, so that a small cell looks small; else by their box, each as large as any other."""
    center: float = Field(1.0, gt=0, le=1)
    """Of a patch without a box, the share of its side that is shown: its middle."""
    mask_background: bool = False
    """Whether what lies around the cell is taken out: by its mask where it has one, else by an
    outline that is looked for in the picture."""


class NetworkSettings(BaseModel):
    """The shape of a classifier's network; kept on the model's card."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    norm: Literal["frozen", "group", "batch"] = "group"
    """FrozenBatchNorm for pretrained weights, GroupNorm from scratch: both look at one picture
    at a time, which is what survives another microscope. ``batch`` is live BatchNorm."""
    dropout: float = Field(0.2, ge=0, lt=1)
    multi_label: bool = False
    """Whether a cell may have several classes at once, or none."""
    head: Head = "linear"


class ClassifySettings(CourseSettings):
    """How a classifier is trained."""

    steps: int = Field(1200, ge=1)
    """Most steps; each shows a batch of pictures."""
    batch_size: int = Field(32, ge=1)
    """Pictures a step. More learn more steadily and take more memory and time."""
    learning_rate: float = Field(3e-4, gt=0)
    """How far a step changes the network at most. Lower it if the loss does not fall: too far, and
    a pretrained network forgets all it knew and gives every picture the same answer."""
    layer_decay: float = Field(0.8, gt=0, le=1)
    """Of two neighbouring parts of the network the one nearer to the pixels learns at this
    share of the other's rate: what it knows is more general."""
    frozen_share: float = Field(0.05, ge=0, le=1)
    """Share of the training in which only the new layers learn."""
    weight_decay: float = Field(0.02, ge=0)
    """How strongly weights are pulled to zero."""
    head: Head = "linear"
    """What learns: the network, or one of the others on its features, left as they are."""
    norm: Norm = "auto"
    """``auto`` takes ``frozen`` where there are starting weights, else ``group``."""
    multi_label: bool = False
    """Whether a cell may have several classes at once, or none."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Share of the features left out at random in each step."""
    label_smoothing: float = Field(0.05, ge=0, lt=0.5)
    """Share of a label that is spread over all classes: labels may err."""
    class_weights: bool = True
    """Whether rare classes count more, so that each counts the same in all."""
    mixup: float = Field(0.0, ge=0, le=2)
    """Pictures are blended in pairs (arXiv:1710.09412), shares drawn from Beta(x, x); 0 is off."""
    flips: bool = True
    """Show pictures mirrored, too."""
    turns: bool = True
    """By any angle."""
    zoom_jitter: float = Field(1.2, ge=1, le=2)
    """Pictures are shown between 1/x and x times their size."""
    shift: float = Field(0.08, ge=0, lt=0.5)
    """The part shown is moved by up to this share of its side: a random crop."""
    shear: float = Field(0.1, ge=0, lt=1)
    """Pictures are slanted by up to this share of their side."""
    brightness_jitter: float = Field(0.15, ge=0, lt=1)
    """Brightness, contrast and, half as much, colour are changed by up to this share."""
    stain_jitter: float = Field(0.2, ge=0, lt=1)
    """Each channel's optical density is changed by up to this share, together and apart."""
    shrink: float = Field(1.0, ge=0.5, le=16)
    """Pictures are smaller by this factor: above 1 a first training is quicker."""
