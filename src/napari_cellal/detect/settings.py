"""What changes a detector's results. No torch here: the window makes forms from these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_cellal.networks.settings import CourseSettings


class NetworkSettings(BaseModel):
    """The shape of a network, fitted to the training boxes and kept on its card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: float = Field(1.0, gt=0)
    """Network pixels per image pixel: one constant a model, so that a cell keeps its size."""
    anchor_sizes: tuple[tuple[float, ...], ...] = ((16.0, 24.0), (48.0, 72.0), (128.0, 192.0))
    """Network px; one tuple a feature level, finest first, all of one length."""
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    detections: int = Field(500, ge=1)
    """Most cells found in one tile."""
    norm: Literal["frozen", "group"] = "group"
    """FrozenBatchNorm for pretrained weights, GroupNorm from scratch."""
    tile_px: int = Field(640, ge=64)
    """Side of the largest picture shown to the network at once, network px."""
    largest_box_px: float = Field(64.0, gt=0)
    """Tiles overlap by this much, image px."""
    short_side_px: float | None = Field(None, gt=0)
    """If set, an image whose short side would be less than this, network px, is enlarged."""
    cell_px: tuple[float, float] | None = None
    """If set, an image whose middle cell is smaller or larger than this, network px, is looked
    at again at a scale that brings it there: for a model that serves any microscope."""


class PredictSettings(BaseModel):
    """How a trained detector is run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_score: float = Field(0.1, ge=0, le=1)
    """Boxes that score less are dropped."""
    same_class_iou: float = Field(0.5, gt=0, le=1)
    """Of two boxes of one class that overlap by more than this the better is kept."""
    same_class_inside: float = Field(0.85, gt=0, le=1)
    """Of two boxes of one class the better is kept also where this share of the smaller one
    lies in the other."""
    any_class_iou: float = Field(0.7, gt=0, le=1)
    """The same for boxes of different classes: a cell has one class."""
    tile_batch: int = Field(4, ge=1)
    """Tiles shown to the network at once; halved when the memory is too small."""
    flips: bool = False
    """Look at the image mirrored three ways too and take the mean: four times as long."""


class TrainSettings(CourseSettings):
    """How a detector is trained."""

    frozen_stages: int = Field(0, ge=0, le=5)
    """So many of the body's stages, finest first, are held for ``frozen_share``."""
    keep_start: float = Field(0.0, ge=0, lt=1)
    """Share of the starting weights in the model, where they are of the same network and know all
    its classes. A few images teach their own accidents, too; what was known before tempers them."""
    flips: bool = True
    """Show pictures mirrored, too."""
    turns: bool = True
    """Turn by 90, 180 and 270 degrees."""
    scale_jitter: float = Field(1.25, ge=1, le=2)
    """Pictures are shown between 1/x and x times their size."""
    brightness_jitter: float = Field(0.15, ge=0, lt=1)
    """Brightness and contrast are changed by up to this share."""
    stain_jitter: float = Field(0.2, ge=0, lt=1)
    """Of colour pictures each channel's optical density is changed by up to this share, together
    and apart."""
    channel_jitter: float = Field(0.2, ge=0, lt=1)
    """Of other pictures each channel's gain and gamma are changed by up to this share, and its
    background by an eighth of it, each channel by itself."""
    mosaic: float = Field(0.0, ge=0, le=1)
    """Share of the pictures that are made of windows of four."""
    copy_paste: float = Field(0.0, ge=0, le=1)
    """Share of the pictures into which up to three confirmed cells of another are pasted, where
    they hide neither a labelled nor an unreviewed cell."""
    repeat_rare: float = Field(0.0, ge=0, le=1)
    """A class that is in less than this share of the images is rare, and they are shown more
    often: the square root of how much less."""
    even_crops: bool = False
    """Crops around a cell are as often around one of a rare class as of a frequent one."""
    crop_px: int = Field(512, ge=64)
    """Larger pictures are shown in random crops of this side, network px."""
    validate_on: int = Field(24, ge=1)
    """Images looked at each time; the finished model is measured on all of them."""
    boxes_as_masks: bool = False
    """Whether a cell without a mask teaches its box as mask. Else a network of masks learns
    of it where it is and what, but not its outline."""
    scale: float | None = Field(None, gt=0)
    """Network pixels per image pixel; fitted to the boxes unless set."""
    shrink: float = Field(1.0, ge=0.5, le=16)
    """The scale is divided by this: above 1 a first training is quicker and sees less detail."""
