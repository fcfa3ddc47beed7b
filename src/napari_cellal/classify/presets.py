"""What a person chooses from: a network with settings, and what it costs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field

from napari_cellal.core.errors import ModelError

from .architectures import ARCHITECTURES
from .settings import ClassifySettings


@dataclass(frozen=True)
class Preset:
    """A network and how it is trained; ``cost`` says for whom it is, in a sentence."""

    architecture: str
    cost: str
    size_px: int
    settings: ClassifySettings = field(default_factory=ClassifySettings)


PRESETS = {
    "simple": Preset(
        "mobilenet_v2",
        "For any computer. It takes as many steps for few pictures as for many: about ten "
        "minutes on two CPU cores, less on a GPU.",
        128,
        ClassifySettings(steps=520, validate_every=65),
    ),
    "heavy": Preset(
        "convnext_tiny",
        "A larger network that sees more detail; wants a GPU.",
        224,
        ClassifySettings(steps=3000, weight_decay=0.05),
    ),
}


def find_preset(name: str) -> Preset:
    """Return a preset, or one made of the network of that name.

    Raises
    ------
    ModelError
        If there is neither.
    """
    if name in PRESETS:
        return PRESETS[name]
    if name in ARCHITECTURES:
        arch = ARCHITECTURES[name]
        return Preset(name, arch.summary, arch.size_px)
    known = ", ".join([*PRESETS, *ARCHITECTURES])
    raise ModelError(f"There is no preset or network '{name}'. Known are: {known}.")
