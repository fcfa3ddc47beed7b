"""A measurement as one page: what was measured on what, how good, and where it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from .calibration import ReliabilityPoint, calibration_error
from .curves import PrecisionCurve, precision_curves, score_reliability
from .drawing import (
    COLORS,
    Drawn,
    Line,
    boxes_svg,
    crop_img,
    histogram_svg,
    lines_svg,
    looks_legend,
)
from .html import Markup, Text, bullets, cards, element, page, section, share, table
from .matches import NOTHING, Confusion, Match, Tally, confusion_of, tally
from .tables import (
    Totals,
    class_lines,
    gives_classes,
    joined,
    macro_f1,
    mix_ups,
    source_lines,
    totals_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_cellal.core.records import Cell, Detections

WORST = 8
MOST_SOURCES = 40
MOST_CHANGED = 12
_NO_CELL, _MISSED, _NO_CLASS = "no cell", "missed", "no class"


@dataclass(frozen=True, slots=True)
class ImageNote:
    """What the page says of an image."""

    name: str
    source: str
    size: tuple[int, int]
    """(height, width), px."""


@dataclass(frozen=True, slots=True)
class Side:
    """One model's answers.

    Attributes
    ----------
    about : tuple of (what, text)
        The model's card in words.
    matches : {image_id: tuple of Match}
    figures : dict
        As of ``evaluate``; see docs/cli.md.
    found : {image_id: Detections} or None
        None for a classifier.
    """

    name: str
    about: tuple[tuple[str, str], ...]
    matches: Mapping[str, tuple[Match, ...]]
    figures: Mapping[str, Any]
    found: Mapping[str, Detections] | None
    notes: tuple[str, ...] = ()

    def tallies(self) -> dict[str, Tally]:
        """Return each image's tally."""
        return {key: tally(some) for key, some in self.matches.items()}


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page is written from.

    Attributes
    ----------
    facts : tuple of (what, text)
        What was measured on what.
    classes : {class_id: (name, colour)}
    cells : {image_id: cells}
        The labels that were measured against.
    sides : one or two models
    pictures : {image_id: JPEG};  crops : {cell_id: JPEG}
        Empty for a page without pictures.
    project_counts : {split: {class_id: cells}}
        All labels of the project.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    score: float
    classes: Mapping[int, tuple[str, str]]
    images: Mapping[str, ImageNote]
    cells: Mapping[str, Sequence[Cell]]
    sides: tuple[Side, ...]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    crops: Mapping[str, bytes] = field(default_factory=dict)
    project_counts: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    @property
    def boxes(self) -> bool:
        """Whether boxes were looked for, or only classes given."""
        return self.sides[0].found is not None

    def name(self, class_id: int | None, nothing: str) -> str:
        """Return a class's name; ``nothing`` where there is no cell."""
        if class_id is None:
            return _NO_CLASS
        return nothing if class_id == NOTHING else self.classes.get(class_id, ("?", ""))[0]


def report_html(report: Report) -> str:
    """Return the page."""
    parts = [
        element("h1", report.title),
        table(("", ""), [(what, text) for what, text in report.facts], left=2),
        _summary(report),
        _matrices(report),
        _classes(report),
        _mix_ups(report),
    ]
    if report.boxes:
        parts.append(_curves(report))
    parts += [_calibration(report), _sources(report), _worst(report), _overview(report)]
    if len(report.sides) > 1:
        parts.append(_changes(report))
    parts.append(_models(report))
    return page(report.title, [p for p in parts if p.text])


def f1_of(matches: Sequence[Match]) -> float:
    """Return F1 of an image, box and class right, 0..1; 1 where nothing is and nothing was said."""
    cells = sum(m.true != NOTHING for m in matches)
    said = sum(m.said != NOTHING for m in matches)
    right = sum(m.true == m.said and m.true is not None for m in matches)
    return 2 * right / (cells + said) if cells + said else 1.0


def worst_images(side: Side, most: int = WORST) -> list[str]:
    """Return the images with the lowest F1 that hold any mistake, worst first."""
    rated = [(f1_of(some), -len(some), key) for key, some in side.matches.items()]
    return [key for f1, _, key in sorted(rated)[:most] if f1 < 1]


def worst_cells(side: Side, most: int = 24) -> list[Match]:
    """Return the surest of the wrong classes."""
    wrong = [m for some in side.matches.values() for m in some if m.true != m.said]
    return sorted(wrong, key=lambda m: -m.score)[:most]


# -- sections -----------------------------------------------------------------------------


def _summary(report: Report) -> Markup:
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


def _matrices(report: Report) -> Markup:
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
    heads = "".join(element("th", report.name(c, _MISSED)).text for c in confusion.columns)
    lines = [f'<tr><th class="corner"></th>{heads}</tr>']
    shares = confusion.shares()
    for i, row in enumerate(confusion.rows):
        line = element("th", report.name(row, _NO_CELL)).text
        for j, column in enumerate(confusion.columns):
            n, part = int(confusion.counts[i, j]), float(shares[i, j])
            color = "0, 114, 178" if row == column else "213, 94, 0"
            depth = 0.0 if not n else 0.08 + 0.4 * part
            text = f'{n:,}<br/><span class="range">{part:.1%}</span>' if n else ""
            line += f'<td style="background: rgba({color}, {depth:.2f})">{text}</td>'
        lines.append(f"<tr>{line}</tr>")
    return Markup(f'<table class="matrix">{"".join(lines)}</table>')


def _classes(report: Report) -> Markup:
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


def _mix_ups(report: Report) -> Markup:
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


def _curves(report: Report) -> Markup:
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


def _calibration(report: Report) -> Markup:
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


def _sources(report: Report) -> Markup:
    sources = {key: note.source for key, note in report.images.items()}
    parts = []
    for side in report.sides:
        lines = source_lines(side.tallies(), sources)
        rows: list[list[Text]] = []
        for line in lines[:MOST_SOURCES]:
            t = line.totals
            name: Text = line.source or "–"
            if line.is_worse:
                name = element("span", f"▼ {line.source}", kind="worse")
            found = [share(t.precision), share(t.recall), share(t.f1)] if report.boxes else []
            right = share(t.classed_right, t.interval) if t.found else "–"
            rows.append([name, f"{t.images:,}", f"{t.cells:,}", *found, right])
        heads = ["source", "images", "cells"]
        heads += ["precision", "recall", "F1"] if report.boxes else []
        if len(lines) < 2:
            return Markup("")
        if len(report.sides) > 1:
            parts.append(element("h3", side.name))
        parts.append(table([*heads, "right class"], rows))
        if len(lines) > MOST_SOURCES:
            parts.append(element("p", f"and {len(lines) - MOST_SOURCES} more"))
    remark = (
        "Plate, group or folder of the images, the worst first. ▼: below all others together by "
        "more than chance explains (95 % intervals that do not touch)."
    )
    return section("Source by source", *parts, element("p", remark, kind="quiet"))


def _worst(report: Report) -> Markup:
    side = report.sides[0]
    if not report.boxes:
        return _worst_cells(report, side)
    figures = []
    for key in worst_images(side):
        matches, note = side.matches[key], report.images[key]
        drawn = [Drawn(m.box, _kind(m), _words(report, m)) for m in matches]
        kinds = [d.kind for d in drawn]
        text = (
            f"{note.name}: F1 {f1_of(matches):.2f}; {kinds.count('found')} right, "
            f"{kinds.count('wrong')} of another class, {kinds.count('missed')} missed, "
            f"{kinds.count('false')} where no cell is labelled"
        )
        picture = boxes_svg(report.pictures.get(key), note.size, drawn)
        figures.append(element("figure", picture, element("figcaption", text)))
    if not figures:
        return Markup("")
    return section(
        "Worst images" + (f" of {side.name}" if len(report.sides) > 1 else ""),
        looks_legend(),
        element("div", *figures, kind="side"),
    )


def _worst_cells(report: Report, side: Side) -> Markup:
    figures, lines = [], []
    for m in worst_cells(side):
        text = f"{report.name(m.true, '')}, said {report.name(m.said, '')} {m.score:.2f}"
        note = report.images[m.image_id]
        lines.append(f"{text} ({note.name})")
        jpeg = report.crops.get(m.cell_id or "")
        if jpeg is not None:
            where = element("figcaption", text, Markup("<br/>"), note.name)
            figures.append(element("figure", crop_img(jpeg, text), where))
    if not lines:
        return Markup("")
    shown = element("div", *figures, kind="side cells") if figures else bullets(lines)
    return section("Surest of the wrong answers", shown)


def _kind(match: Match) -> str:
    if match.said == NOTHING:
        return "missed"
    if match.true == NOTHING:
        return "false"
    return "found" if match.true == match.said else "wrong"


def _words(report: Report, m: Match) -> str:
    true, said = report.name(m.true, _NO_CELL), report.name(m.said, _MISSED)
    return true if m.true == m.said else f"{true}, {said}"


def _overview(report: Report) -> Markup:
    cells = [c for some in report.cells.values() for c in some]
    by_source: dict[str, dict[int | None, int]] = {}
    for key, some in report.cells.items():
        own = by_source.setdefault(report.images[key].source, {})
        for c in some:
            own[c.class_id] = own.get(c.class_id, 0) + 1
    ids = [k for k in report.classes if any(k in own for own in by_source.values())]
    rows = [
        [source or "–", *(f"{own.get(k, 0):,}" for k in ids)]
        for source, own in sorted(by_source.items())[:MOST_SOURCES]
    ]
    names = [report.classes[k][0] for k in ids]
    parts = [
        element("h3", "Cells measured on, by source"),
        table(["source", *names], rows),
    ]
    if report.project_counts:
        whole = list(report.classes)
        lines = [
            [split, *(f"{counts.get(k, 0):,}" for k in whole)]
            for split, counts in report.project_counts.items()
        ]
        parts += [
            element("h3", "All labels, by split"),
            table(["split", *(report.classes[k][0] for k in whole)], lines),
        ]
    charts = []
    for k in ids:
        name, color = report.classes[k]
        sides = [_side_px(c) for c in cells if c.class_id == k]
        chart = histogram_svg(sides, color or COLORS[0], "px")
        text = f"{name}: {len(sides):,} cells, median {median(sides):.0f} px"
        charts.append(element("figure", chart, element("figcaption", text)))
    if any(_side_px(c) for c in cells):
        parts += [
            element("h3", "Size of the boxes: square root of their area"),
            element("div", *charts, kind="side"),
        ]
    return section("The data", *parts)


def _side_px(cell: Cell) -> float:
    y0, x0, y1, x1 = cell.box
    return float(max(0.0, (y1 - y0) * (x1 - x0)) ** 0.5)


def _changes(report: Report) -> Markup:
    first, second = report.sides[:2]
    both = [key for key in first.matches if key in second.matches]
    rated = [(f1_of(first.matches[key]), f1_of(second.matches[key]), key) for key in both]
    rated.sort(key=lambda row: -abs(row[0] - row[1]))
    rows = [
        [report.images[key].name, share(a), share(b), f"{a - b:+.3f}"]
        for a, b, key in rated[:MOST_CHANGED]
        if a != b
    ]
    better = sum(a > b for a, b, _ in rated)
    worse = sum(a < b for a, b, _ in rated)
    return section(
        "Images that differ most",
        element(
            "p",
            f"{first.name} is better on {better:,} images, {second.name} on {worse:,}; "
            f"{len(rated) - better - worse:,} are alike (F1, box and class right).",
        ),
        table(["image", first.name, second.name, "difference"], rows),
    )


def _models(report: Report) -> Markup:
    parts = []
    for side in report.sides:
        parts.append(element("h3", side.name))
        parts.append(table(("", ""), side.about, left=2))
    return section("The model" if len(report.sides) == 1 else "The models", *parts)
