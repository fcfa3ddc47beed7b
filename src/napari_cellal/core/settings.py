"""What changes results, stored with the project. Taste lives in napari's preferences."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProjectSettings(BaseModel):
    """Settings of one project, kept in its database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    merge_iou: float = Field(0.5, gt=0, le=1)
    """A proposal that overlaps a reviewed box by this much is the same cell."""
    holdout_percent: int = Field(20, ge=0, le=90)
    """Share of the images, chosen once by hash, that models are measured on."""
    detector: str = "auto"
    """The model used by Detect unless another is chosen; ``auto`` until one was chosen."""
    classifier: str = "auto"
    """The model that gives classes unless another is chosen; ``auto`` is the newest."""
    seed: int = 0
