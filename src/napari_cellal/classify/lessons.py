"""What a classifier is taught, step by step, and how it is examined."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from napari_cellal.core.progress import Job, Progress
from napari_cellal.core.rates import macro_f1
from napari_cellal.networks.course import Look

from .augment import augmented, mixed
from .pictures import seen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_cellal.networks.normalization import Normalization

    from .pictures import Pictures
    from .predict import TorchClassifier
    from .requests import Patch
    from .settings import ClassifySettings, ViewSettings

_LOOK_BATCH = 32
_MOST_WEIGHT = 10.0  # of a rare class, against the mean


def targets_of(patches: Sequence[Patch], class_ids: Sequence[int]) -> NDArray[np.float32]:
    """Return float32[N, K], 1 where a picture has the class."""
    place = {class_id: k for k, class_id in enumerate(class_ids)}
    out = np.zeros((len(patches), len(class_ids)), np.float32)
    for row, patch in zip(out, patches, strict=True):
        row[[place[c] for c in patch.class_ids if c in place]] = 1
    return out


def score_of(
    found: NDArray[np.floating], targets: NDArray[np.floating], *, multi_label: bool
) -> float:
    """Return F1 averaged over the classes that occur, 0..1, of probabilities, [N, K]."""
    true = targets > 0.5
    said = found > 0.5 if multi_label else found >= found.max(axis=1, keepdims=True)
    return float(macro_f1((true & said).sum(axis=0), true.sum(axis=0), said.sum(axis=0)))


def class_weights(targets: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return float32[K]: what a picture of each class counts, so that all classes count alike."""
    n = targets.sum(axis=0)
    mean = n.sum() / max(int((n > 0).sum()), 1)
    return np.where(n > 0, np.minimum(mean / np.maximum(n, 1), _MOST_WEIGHT), 0).astype(np.float32)


class Lessons:
    """Batches of random views with their targets, and the loss of an answer."""

    def __init__(
        self,
        pictures: Pictures,
        class_ids: Sequence[int],
        normalization: Normalization,
        view: ViewSettings,
        settings: ClassifySettings,
    ) -> None:
        self._pictures = pictures
        self._normalization = normalization
        self._view = view
        self._settings = settings
        targets = targets_of(pictures.patches, class_ids)
        self._targets = torch.from_numpy(targets)
        n = targets.sum(axis=0)
        weight = class_weights(targets) if settings.class_weights else np.ones_like(n)
        self._weight = torch.from_numpy(weight.astype(np.float32))
        # in how many pictures a class is not, for one where it is
        odds = np.clip((len(targets) - n) / np.maximum(n, 1), 1, _MOST_WEIGHT)
        if not settings.class_weights:
            odds = np.ones_like(odds)
        self._odds = torch.from_numpy(odds.astype(np.float32))

    def batches(self, first_step: int) -> Iterator[list[Any]]:
        """Yield endless batches of (float32[C, h, w], float32[K]).

        Each is drawn from the seed and its place alone, so a training that goes on at
        ``first_step`` sees what it would have seen.
        """
        settings = self._settings
        n, size, seed = len(self._pictures), settings.batch_size, settings.seed
        for step in itertools.count(first_step):
            rng = np.random.default_rng([seed, 1, step])
            chosen = []
            for place in range(step * size, (step + 1) * size):
                order = np.random.default_rng([seed, 0, place // n]).permutation(n)
                chosen.append(int(order[place % n]))
            pictures = torch.stack([augmented(self._seen(k), settings, rng) for k in chosen])
            targets = self._targets[chosen]
            if settings.mixup:
                pictures, targets = mixed(pictures, targets, settings.mixup, rng)
            yield list(zip(pictures, targets, strict=True))

    def _seen(self, index: int) -> Tensor:
        pictures, view = self._pictures, self._view
        outline = pictures.outline(index) if view.mask_background else None
        return torch.from_numpy(seen(pictures.raw(index), self._normalization, view, outline))

    def loss(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Return float32[] of scores and targets, float32[B, K].

        Cross entropy, smoothed (Szegedy et al., arXiv:1512.00567); for several classes at once
        each class's by itself.
        """
        smooth = self._settings.label_smoothing
        if self._settings.multi_label:
            soft = targets * (1 - smooth) + smooth / 2
            odds = self._odds.to(scores.device)
            return binary_cross_entropy_with_logits(scores, soft, pos_weight=odds)
        soft = targets * (1 - smooth) + smooth / targets.shape[1]
        weight = (targets * self._weight.to(scores.device)).sum(1)
        return -((soft * log_softmax(scores, 1)).sum(1) * weight).mean()


class Examiner:
    """Scores a classifier on pictures that it does not learn from."""

    def __init__(self, classifier: TorchClassifier, pictures: Pictures) -> None:
        self._classifier = classifier
        self._pictures = pictures
        self.targets = targets_of(pictures.patches, classifier.record.class_ids)

    @property
    def has_any(self) -> bool:
        """Whether there is anything to look at."""
        return len(self._pictures) > 0

    def answers(self, progress: Progress) -> Job[NDArray[np.float32]]:
        """Yield often and return the probabilities, float32[N, K]."""
        self._classifier.network.eval()
        found = []
        for first in range(0, len(self._pictures), _LOOK_BATCH):
            last = min(first + _LOOK_BATCH, len(self._pictures))
            each = range(first, last)
            pairs = [(self._pictures.raw(k), self._pictures.outline(k)) for k in each]
            shown = torch.stack([self._classifier.show(*pair) for pair in pairs])
            found.append(self._classifier.probabilities(shown))
            words = f"{progress.message}; looking at picture {last} of {len(self._pictures)}"
            yield Progress(progress.done, progress.total, words)
        return np.concatenate(found)

    def look(self, progress: Progress) -> Job[Look]:
        """Yield often and return F1, averaged over classes."""
        found = yield from self.answers(progress)
        multi_label = self._classifier.shape.multi_label
        return Look(score_of(found, self.targets, multi_label=multi_label))

    def words(self, score: float) -> str:
        """Return what a person reads of the score."""
        return f"F1 {score:.2f} on the validation pictures"
