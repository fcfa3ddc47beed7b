"""The sections of a report on pictures that may have several classes each, or none.

There is no confusion matrix of such: each class is right or wrong by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .drawing import crop_img
from .html import Markup, bullets, cards, element, section, share, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .report import Report, Side

WORST = 24
_KEYS = (
    ("macro_f1", "mean F1", "over classes"),
    ("roc_auc", "ROC-AUC", "mean over classes"),
    ("average_precision", "average precision", "mean over classes"),
)


def worst_losses(side: Side, most: int = WORST) -> list[Mapping[str, Any]]:
    """Return the answers in which any class is wrong, the most surprising first."""
    losses: list[Mapping[str, Any]] = list(side.figures.get("losses", ()))
    return [one for one in losses if set(one["true"]) != set(one["predicted"])][:most]


def summary(report: Report) -> Markup:
    """Return the key figures of each model."""
    parts = []
    for side in report.sides:
        f = side.figures
        low, high = f["interval"]
        found = [(f"{f['accuracy']:.3f}", "all classes right", f"{low:.3f}–{high:.3f}")]
        found += [(f"{f[k]:.3f}", what, note) for k, what, note in _KEYS if f.get(k) is not None]
        parts += [element("h3", side.name)] * (len(report.sides) > 1)
        parts.append(cards(found))
        if side.notes:
            parts.append(bullets(side.notes))
    return section("Result", *parts)


def classes(report: Report) -> Markup:
    """Return the figures of every class."""
    heads = ("class", "with it", "precision", "recall", "F1", "average precision", "ROC-AUC")
    parts = []
    for side in report.sides:
        rows = [
            [
                name,
                f"{r['support']:,}",
                share(r["precision"], r["precision_interval"]),
                share(r["recall"], r["recall_interval"]),
                share(r["f1"]) if r["support"] else "–",
                share(r["average_precision"]),
                share(r["roc_auc"]),
            ]
            for name, r in side.figures["per_class"].items()
        ]
        parts += [element("h3", side.name)] * (len(report.sides) > 1)
        parts.append(table(heads, rows))
    remark = "Each class by itself, said from a probability of 0.5 on. Intervals: Wilson's, 95 %."
    return section("Class by class", *parts, element("p", remark, kind="quiet"))


def sources(report: Report) -> Markup:
    """Return the figures of every source, the worst first; nothing where there is one."""
    parts = []
    for side in report.sides:
        known = side.figures.get("per_source", {})
        if len(known) < 2:
            continue
        ranked = sorted(known.items(), key=lambda pair: pair[1]["accuracy"])
        rows = [
            [
                source or "–",
                f"{r['cells']:,}",
                share(r["accuracy"], r["interval"]),
                share(r["macro_f1"]),
            ]
            for source, r in ranked
        ]
        parts += [element("h3", side.name)] * (len(report.sides) > 1)
        parts.append(table(("source", "pictures", "all classes right", "mean F1"), rows))
    return section("Source by source", *parts) if parts else Markup("")


def worst(report: Report) -> Markup:
    """Return the most surprising of the wrong answers."""
    figures, lines = [], []
    for one in worst_losses(report.sides[0]):
        key = one["key"]
        true, said = (", ".join(one[k]) or "none" for k in ("true", "predicted"))
        text = f"{true}; said {said}"
        lines.append(f"{text} ({report.images[key].name})")
        jpeg, heat = report.crops.get(key), report.heats.get(key)
        if jpeg is not None:
            shown = [crop_img(jpeg, text)]
            if heat is not None:
                shown.append(crop_img(heat, "what spoke for its most probable class"))
            where = element("figcaption", text, Markup("<br/>"), report.images[key].name)
            figures.append(element("figure", *shown, where))
    if not lines:
        return Markup("")
    quiet = "The most surprising first. A second picture shows what spoke for the surest class."
    return section(
        "Wrong answers",
        element("p", quiet, kind="quiet"),
        element("div", *figures, kind="side cells") if figures else bullets(lines),
    )
