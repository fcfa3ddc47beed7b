"""A new detector against the one in use, on the same held-out images; which models there are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import ModelError
from napari_cellal.core.progress import Progress
from napari_cellal.core.records import Split
from napari_cellal.detect.shipped import SHIPPED
from napari_cellal.evaluate.changes import ImageChange, above, changed_images

from . import detecting, evaluating

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_cellal.core.progress import Job
    from napari_cellal.core.records import Detections
    from napari_cellal.io.store import Project


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the new and the old model reach on the same held-out images.

    Attributes
    ----------
    new, old : dict or None
        Figures as of `evaluating.evaluate`; None where nothing is held out, or where the old
        model was made for other images.
    changes : tuple of ImageChange
        What the new one sees in another way, image by image; those that differ most first.
    accepted : (int, int)
        How many boxes of these images the old model proposed and a person accepted as they
        were, and how many boxes there are.
    """

    new: dict[str, Any] | None
    old: dict[str, Any] | None
    old_id: str
    changes: tuple[ImageChange, ...] = ()
    accepted: tuple[int, int] = (0, 0)

    @property
    def better(self) -> bool:
        """Whether the new one is to be used: never unmeasured, nor if it is not better."""
        if self.new is None:
            return False
        return self.old is None or evaluating.is_better(self.new, self.old)

    def line(self, old_name: str = "") -> str:
        """Return it in words."""
        if self.new is None:
            return "No held-out image (val) is finished, so the new model was not measured."
        n = self.new["images"]
        where = f"on {n} held-out image{'s' * (n != 1)}"
        if self.old is None:
            return f"New model: mAP50 {_map50(self.new):.2f} {where}."
        new, old, what = _map50(self.new), _map50(self.old), "mAP50"
        if self.old_id == detecting.CLASSICAL:  # it gives no classes
            new, old = (float(f["any_class"]["ap50"] or 0) for f in (self.new, self.old))
            what = "AP50 with classes ignored"
        name = old_name or self.old_id
        text = f"New model: {new:.2f}, before ({name}): {old:.2f} ({what} {where}, the same ones)."
        own, boxes = self.accepted
        if 2 * own > boxes:
            text += (
                f" Of their {boxes} boxes {own} are {name}'s own, accepted as they were: that "
                "favours it."
            )
        failed = self.new.get("failures", [])
        if failed:
            text += f" {failed[0]}"
        if len(failed) > 1:
            text += f" So do those of {len(failed) - 1} more."
        return text


def _map50(figures: dict[str, Any]) -> float:
    return float(figures["map50"] or 0)


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """Two models and the held-out images that both are measured on; picklable."""

    old_id: str
    new: evaluating.EvaluateRequest | None = None
    old: evaluating.EvaluateRequest | None = None
    accepted: tuple[int, int] = (0, 0)


def request_comparison(
    project: Project, new: str, *, device: str = "auto", seed: int = 0
) -> CompareRequest:
    """Return the comparison of a model with the one in use on the finished ``val`` images."""
    old = detecting.choose_model(project)
    truth = evaluating.truth_of(project, Split.VAL)
    if not truth or old == new:
        return CompareRequest(old)

    def measure(model: str) -> evaluating.EvaluateRequest:
        return evaluating.request_evaluation(
            project, model=model, split="val", device=device, truth=truth, seed=seed
        )

    try:
        previous = measure(old)
    except ModelError:  # made for other channels
        previous = None
    return CompareRequest(old, measure(new), previous, _accepted(project, truth, old))


def _accepted(project: Project, image_ids: Iterable[str], model_id: str) -> tuple[int, int]:
    """Return how many known cells are a model's proposals, left as they were, and how many all."""
    cells = [c for key in image_ids for c in evaluating.known_cells(project, key) or ()]
    own = [
        c
        for c in cells
        if c.proposed is not None
        and c.proposed.model_id.partition("+")[0] == model_id
        and c.proposed.box == c.box
        and (c.proposed.class_id == c.class_id or model_id == detecting.CLASSICAL)
    ]
    return len(own), len(cells)


def compare(request: CompareRequest) -> Job[Verdict]:
    """Return the job of the comparison."""
    if request.new is None:
        return Verdict(None, None, request.old_id)
    new = yield from evaluating.find(request.new)
    if request.old is None:
        return Verdict(evaluating.figures_of(request.new, new), None, request.old_id)
    old = yield from evaluating.find(request.old)
    yield Progress(0, 0, "Measuring")
    return Verdict(
        evaluating.figures_of(request.new, new),
        evaluating.figures_of(request.old, old),
        request.old_id,
        changes_of(request, old, new),
        request.accepted,
    )


def changes_of(
    request: CompareRequest, old: Mapping[str, Detections], new: Mapping[str, Detections]
) -> tuple[ImageChange, ...]:
    """Return how the images look different to the new model, most different first.

    Boxes count from the score of the figures on. The classical detector gives no classes and
    has a scale of scores of its own: all of its boxes count, and classes are ignored.
    """
    assert request.new is not None
    plain = request.old_id == detecting.CLASSICAL
    score = request.new.score
    return changed_images(
        {key: above(found, 0 if plain else score) for key, found in old.items()},
        {key: above(found, score) for key, found in new.items()},
        request.new.truth,
        classes=not plain,
    )


def list_models(project: Project) -> list[dict[str, Any]]:
    """Return every model that can be used, the newest last; one is ``in_use``."""
    used = detecting.choose_model(project)
    rows: list[dict[str, Any]] = [
        {"model": name, "kind": "detector", "in_use": name == used}
        for name in (SHIPPED, detecting.CLASSICAL)
    ]
    for m in sorted(project.models, key=lambda m: m.created_at):
        rows.append(
            {
                "model": m.model_id,
                "kind": m.kind,
                "in_use": m.model_id == used,
                "architecture": m.architecture,
                "start": m.start,
                "parent": m.parent_id,
                "preset": str(m.trained_on.get("preset", "")),
                "created_at": m.created_at,
                "metrics": dict(m.metrics),
            }
        )
    return rows
