"""The sections of a report that tell how good a model is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_cellal.core.reliability import ReliabilityPoint, calibration_error

from .curves import PrecisionCurve, precision_curves, score_reliability
from .drawing import COLORS, Line, lines_svg
from .html import Markup, Text, bullets, cards, element, section, share, table
from .matches import NOTHING, Confusion, confusion_of
from .report_words import MISSED, NO_CELL
from .tables import Totals, class_lines, gives_classes, joined, macro_f1, mix_ups, totals_of

if TYPE_CHECKING:
    from .report import Report, Side


def summary(report: Report) -> Markup:
    """Return the key figures of each model."""
    parts = []
    for side in report.sides:
        totals = totals_of(side.tallies().values())
        lines = class_lines(_confusion(report, side))
        if len(report.sides) > 1:
            parts.append(element("h3", side.name))
        parts.append(cards(_key_figures(report, side, totals, macro_f1(lines))))
        if side.notes:
            parts.append(bullets(side.notes))
    return section("Result", *parts)


def _key_figures(report: Report, side: Side, t: Totals, macro: float) -> list[tuple[str, str, str]]:
    low, high = t.interval
    right = (
        f"{t.classed_right:.3f}",
        "right class" + (" of the cells found" if report.boxes else ""),
        f"{low:.3f}–{high:.3f}, {t.found:,} cells",
    )
    if not report.boxes:
        figures = [right, (f"{macro:.3f}", "mean F1", "over classes")]
        for key, what in (("roc_auc", "ROC-AUC"), ("average_precision", "average precision")):
            if side.figures.get(key) is not None:
                figures.append((f"{side.figures[key]:.3f}", what, "mean over classes"))
        return figures
    found = [
        (f"{t.precision:.3f}", "precision of finding", "boxes that are cells"),
        (f"{t.recall:.3f}", "recall of finding", "cells that were found"),
        (f"{t.f1:.3f}", "F1 of finding", f"at score {report.score:.2f}"),
    ]
    count = (f"{t.count_error:.1f}", "cells off an image", "mean error of the count")
    if not gives_classes(joined(side.tallies().values())):
        blind = side.figures.get("any_class", {}).get("ap50")
        first = ("–" if blind is None else f"{blind:.3f}", "AP50", "it gives no classes")
        return [first, *found, count]
    map50, map5095 = side.figures.get("map50"), side.figures.get("map5095")
    interval = side.figures.get("interval")
    remark = f"{interval[0]:.3f}–{interval[1]:.3f} over images" if interval else ""
    return [
        ("–" if map50 is None else f"{map50:.3f}", "mAP50", remark),
        ("–" if map5095 is None else f"{map5095:.3f}", "mAP50:95", "as COCO computes it"),
        *found,
        right,
        count,
    ]


def _confusion(report: Report, side: Side) -> Confusion:
    ids = list(report.classes)
    return confusion_of(joined(side.tallies().values()), ids, boxes=side.found is not None)


def matrices(report: Report) -> Markup:
    """Return the confusion matrix of each model."""
    drawn = []
    for side in report.sides:
        head = [element("h3", side.name)] if len(report.sides) > 1 else []
        drawn.append(element("div", *head, _matrix(report, _confusion(report, side))))
    text = (
        "Rows: what the labels say. Columns: what the model says. Below each number its share of "
    )
    text += "the row."
    if report.boxes:
        text += " A box where no cell is labelled is a mistake only if the labels are complete."
    return section(
        "What was taken for what",
        element("p", text, kind="quiet"),
        element("div", *drawn, kind="side"),
    )


def _matrix(report: Report, confusion: Confusion) -> Markup:
    heads = "".join(element("th", report.name(c, MISSED)).text for c in confusion.columns)
    lines = [f'<tr><th class="corner"></th>{heads}</tr>']
    shares = confusion.shares()
    for i, row in enumerate(confusion.rows):
        line = element("th", report.name(row, NO_CELL)).text
        for j, column in enumerate(confusion.columns):
            n, part = int(confusion.counts[i, j]), float(shares[i, j])
            color = "0, 114, 178" if row == column else "213, 94, 0"
            depth = 0.0 if not n else 0.08 + 0.4 * part
            text = f'{n:,}<br/><span class="range">{part:.1%}</span>' if n else ""
            line += f'<td style="background: rgba({color}, {depth:.2f})">{text}</td>'
        lines.append(f"<tr>{line}</tr>")
    return Markup(f'<table class="matrix">{"".join(lines)}</table>')


def classes(report: Report) -> Markup:
    """Return the figures of every class."""
    parts = []
    for side in report.sides:
        if report.boxes and not gives_classes(joined(side.tallies().values())):
            continue
        rows: list[list[Text]] = []
        per_class = side.figures.get("per_class", {})
        for line in class_lines(_confusion(report, side)):
            if not (line.support or line.said):
                continue
            name = report.name(line.class_id, "")
            more = per_class.get(name, {})
            keys = ("ap50", "ap5095") if report.boxes else ("average_precision", "roc_auc")
            rows.append(
                [
                    name,
                    f"{line.support:,}",
                    share(line.precision, line.precision_interval) if line.said else "–",
                    share(line.recall, line.recall_interval) if line.support else "–",
                    share(line.f1) if line.support else "–",
                    *(share(more.get(key)) for key in keys),
                ]
            )
        last = ("AP50", "AP50:95") if report.boxes else ("average precision", "ROC-AUC")
        heads = ("class", "cells", "precision", "recall", "F1", *last)
        if len(report.sides) > 1:
            parts.append(element("h3", side.name))
        parts.append(table(heads, rows))
    if not parts:
        return Markup("")
    remark = "Intervals are Wilson's, 95 %. Precision, recall and F1 are counted from the matrix"
    remark += f", at score {report.score:.2f}." if report.boxes else "."
    return section("Class by class", *parts, element("p", remark, kind="quiet"))


def mixed_up(report: Report) -> Markup:
    """Return what is most often wrong, in sentences."""
    parts = []
    for side in report.sides:
        lines: list[Text] = []
        for mix in mix_ups(_confusion(report, side), 10):
            if mix.said is None and mix.true != NOTHING:
                continue  # found, and no class asked for
            true, said = report.name(mix.true, ""), report.name(mix.said, "")
            whole = round(mix.cells / mix.share)
            if mix.true == NOTHING:
                lines.append(
                    f"{mix.cells:,} of {whole:,} boxes of {said} ({mix.share:.1%}) lie where no "
                    "cell is labelled"
                )
            elif mix.said == NOTHING:
                lines.append(f"{mix.cells:,} of {whole:,} {true} ({mix.share:.1%}) were missed")
            else:
                lines.append(
                    f"{mix.cells:,} of {whole:,} {true} ({mix.share:.1%}) were said to be {said}"
                )
        if lines:
            if len(report.sides) > 1:
                parts.append(element("h3", side.name))
            parts.append(bullets(lines))
    return section("Most often wrong", *parts) if parts else Markup("")


def _truth(report: Report) -> dict[str, tuple[list[Any], list[int | None]]]:
    return {
        key: ([c.box for c in cells], [c.class_id for c in cells])
        for key, cells in report.cells.items()
    }


def curves(report: Report) -> Markup:
    """Return precision over recall."""
    lines = []
    for n, side in enumerate(report.sides):
        if not gives_classes(joined(side.tallies().values())):
            continue
        found = list((side.found or {}).values())
        curves: dict[int, PrecisionCurve] = precision_curves(
            found, _truth(report), list(report.classes), report.score
        )
        for class_id, curve in curves.items():
            name, color = report.classes[class_id]
            both = f"{name}, {side.name}" if len(report.sides) > 1 else name
            lines.append(Line(both, curve.points, color or COLORS[0], n > 0, curve.at_score))
    if not lines:
        return Markup("")
    return section(
        "Precision over recall",
        lines_svg(lines, "recall", "precision"),
        element(
            "p",
            f"Boxes by falling score, IoU 0.5; the dot is score {report.score:.2f}.",
            kind="quiet",
        ),
    )


def calibration(report: Report) -> Markup:
    """Return how far scores can be believed."""
    lines, said = [], []
    for k, side in enumerate(report.sides):
        if side.found is not None:
            points = score_reliability(
                list(side.found.values()), _truth(report), list(report.classes)
            )
        else:
            points = tuple(ReliabilityPoint(**p) for p in side.figures.get("reliability", ()))
        error = calibration_error(points)
        if error is None:
            continue
        lines.append(Line(side.name, [(p.confidence, p.right) for p in points], COLORS[k], k > 0))
        said.append(
            f"{side.name}: what was said and what was right differ by {error:.3f} on average"
        )
    if not lines:
        return Markup("")
    what = "score" if report.boxes else "probability of the answer"
    return section(
        "Can the scores be believed?",
        lines_svg(lines, what, "share that was right", diagonal=True),
        bullets(said),
        element(
            "p",
            "On the dashed line an answer of 0.8 is right in 8 of 10 cases; below it the model "
            "is too sure. 10 stretches (expected calibration error).",
            kind="quiet",
        ),
    )
