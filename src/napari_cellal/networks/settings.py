"""What changes the result of any training. No torch here: the window makes forms from these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class CourseSettings(BaseModel):
    """How a network is taught, whatever it learns.

    The window makes forms of these settings, with what stands below a field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    steps: int = Field(600, ge=1)
    """Most steps of ``batch_size`` pictures."""
    minutes: float | None = Field(None, gt=0)
    """If set, training ends after this time, and the learning rate falls accordingly; the
    result then depends on the speed of the computer."""
    batch_size: int = Field(2, ge=1)
    """Pictures a step. More learn more steadily and take more memory and time."""
    optimizer: Literal["adamw", "adam", "radam"] = "adamw"
    """How a step is made of the gradients."""
    learning_rate: float = Field(6e-4, gt=0)
    """How far a step changes the network at most. Lower it if the loss jumps or is no number."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Of two neighbouring parts of the network the one nearer to the pixels learns at this
    share of the other's rate: what it knows is more general."""
    frozen_share: float = Field(0.0, ge=0, le=1)
    """Share of the training in which what came with the starting weights is held as it is."""
    weight_decay: float = Field(1e-4, ge=0)
    """How strongly weights are pulled to zero."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the training in which the learning rate rises."""
    schedule: Literal["one_cycle", "plateau"] = "one_cycle"
    """After the rise the rate falls to the end (one cycle), or stays, and is cut to 0.3 of it
    each time that ``plateau_patience`` looks in a row brought nothing better. A look is one at
    the validation images, or at the mean loss of a tenth of the steps where there are none."""
    plateau_patience: int = Field(2, ge=1)
    """Looks without gain after which the rate is cut."""
    average: float = Field(0.99, ge=0, lt=1)
    """The model is a running average of the weights, of which a step keeps this share."""
    clip_norm: float = Field(5.0, gt=0)
    """Steps with larger gradients are cut to this."""
    seed: int = 0
    """The same seed, labels and settings give the same model on the same computer."""
    validate_every: int = Field(100, ge=1)
    """Steps between two looks at the validation images."""
    patience: int = Field(8, ge=1)
    """Training ends when this many looks in a row brought nothing better."""
    cache_mb: int = Field(2000, ge=0)
    """Memory for decoded training images; the rest are read anew each time."""
