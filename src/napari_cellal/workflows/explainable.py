"""Which models can be asked why they give a cell its class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellal.core.errors import ModelError
from napari_cellal.detect.shipped import FOLDER as SHIPPED_FOLDER
from napari_cellal.detect.shipped import SHIPPED, can_read

from . import classifying, detecting

if TYPE_CHECKING:
    from pathlib import Path

    from napari_cellal.io.store import Project


def models_to_ask(project: Project) -> dict[str, str]:
    """Return {model_id: kind} of the models that give classes, the one to ask first at the top.

    That is the classifier in use, else the detector in use.
    """
    kinds = {m.model_id: m.kind for m in reversed(project.models)}
    image = next(iter(project.images.values()), None)
    if image is None or can_read(image):
        kinds[SHIPPED] = "detector"
    first = classifying.choose_classifier(project) or detecting.choose_model(project, "auto")
    return {key: kinds[key] for key in dict.fromkeys((first, *kinds)) if key in kinds}


def find_model(project: Project | None, name: str) -> Path:
    """Return the folder of a model whose answers can be explained: a classifier or a detector.

    ``auto`` is the classifier in use, in a project without one the detector in use.

    Raises
    ------
    ModelError
        If there is none, or it gives no classes.
    """
    if project is None or name not in ("auto", *detecting.known_models(project)):
        return classifying.find_classifier(project, name)
    if name == "auto" and classifying.choose_classifier(project) is not None:
        return classifying.find_classifier(project, name)
    chosen = detecting.choose_model(project, name)
    if chosen == detecting.CLASSICAL:
        raise ModelError(
            "The detector without training gives no classes, so there is none to explain. Train "
            "a model, or name another one."
        )
    return SHIPPED_FOLDER if chosen == SHIPPED else project.model_folder(chosen)
