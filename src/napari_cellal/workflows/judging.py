"""A new classifier beside the one in use, on the same pictures that neither was shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from .classifying import ClassRequest, choose_classifier, measure
from .patches import in_classes_of

if TYPE_CHECKING:
    from napari_cellal.classify.requests import TrainedClassifier
    from napari_cellal.core.progress import Job
    from napari_cellal.io.store import Project

    from .patches import PatchSet

SPLITS = {"test": "test", "val": "validation"}
"""What the pictures of a split are called."""


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A new model, the one before it if that knows the same classes, and pictures; picklable."""

    new: ClassRequest
    split: str
    old: ClassRequest | None = None
    old_id: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Figures as of `classifying.figures`, of both models on the same pictures.

    Attributes
    ----------
    split : str
        ``test``, or ``val`` where there are no test pictures: those said when to stop, which
        flatters the new model a little.
    """

    new: dict[str, Any]
    split: str
    old: dict[str, Any] | None = None
    old_id: str = ""

    def line(self, old_name: str = "") -> str:
        """Return it in words."""
        low, high = self.new["interval"]
        text = (
            f"Right on {self.new['accuracy']:.1%} ({low:.1%} to {high:.1%}) of "
            f"{self.new['cells']:,} {SPLITS[self.split]} pictures."
        )
        if self.old is not None:
            old = old_name or self.old_id
            text += f" Before ({old}): {self.old['accuracy']:.1%} of the same ones."
        elif self.split == "val":
            text += " They said when to stop, so that is a little too good."
        return text


def request_judgement(
    trained: TrainedClassifier,
    found: PatchSet,
    *,
    project: Project | None = None,
    device: str = "auto",
) -> JudgeRequest | None:
    """Return how a new model is measured: None where no picture was held out.

    Parameters
    ----------
    project : Project or None
        Whose classifier in use is measured too, if it knows the classes.
    """
    split = next((s for s in SPLITS if found.of_split(s)), None)
    if split is None:
        return None
    held = replace(found, patches=found.of_split(split))
    request = JudgeRequest(ClassRequest(trained.folder, held.patches, device), split)
    old_id = None if project is None else choose_classifier(project)
    if project is None or old_id is None or old_id == trained.record.model_id:
        return request
    old = next(m for m in project.models if m.model_id == old_id)
    same_channels = not (old.channels and found.channels) or len(old.channels) == len(
        found.channels
    )
    if not same_channels or not set(found.class_names.values()) <= set(old.class_names):
        return request
    theirs = in_classes_of(old, held).patches
    folder = str(project.model_folder(old_id))
    return replace(request, old=ClassRequest(folder, theirs, device), old_id=old_id)


def judge(request: JudgeRequest) -> Job[Judgement]:
    """Return the job of the comparison."""
    new = yield from measure(request.new)
    old = None if request.old is None else (yield from measure(request.old))
    return Judgement(new, request.split, old, request.old_id)
