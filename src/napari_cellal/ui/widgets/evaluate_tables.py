"""The figures of a measurement in words and small tables."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from napari_cellal.evaluate.matches import NOTHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from napari_cellal.evaluate.tables import ClassLine, MixUp, SourceLine, Totals

NO_CELL, MISSED, NO_CLASS = "no cell", "missed", "no class"
LONGEST_NAME = 18
MOST_SOURCES = 12


def name_of(class_id: int | None, names: Mapping[int, str], nothing: str) -> str:
    """Return a row's or column's name; ``nothing`` stands for the one without a cell."""
    if class_id is None:
        return NO_CLASS
    return nothing if class_id == NOTHING else names.get(class_id, "?")


def n_of(n: int, one: str) -> str:
    """Return a number and what is counted, in the plural where it has one."""
    return f"{n:,} {one}{'s' * (n != 1)}"


def headline(
    what: str,
    totals: Totals,
    figures: Mapping[str, Any],
    macro: float,
    *,
    boxes: bool,
    classes: bool = True,
    stale: bool = False,
) -> str:
    """Return the result in a few lines (rich text).

    Parameters
    ----------
    what : str
        Which model, on which images.
    boxes, classes : bool
        What the model gives.
    stale : bool
        Whether the figures are of other labels than the totals.
    """
    what = escape(what)
    where = f"on {n_of(totals.images, 'image')} with {n_of(totals.cells, 'cell')}"
    low, high = totals.interval
    right = f"{totals.classed_right:.2f} ({low:.2f}–{high:.2f})"
    if not boxes:
        return (
            f"{what}<br><b>Right class: {right}</b> of {n_of(totals.found, 'cell')} in "
            f"{n_of(totals.images, 'image')}<br>Mean F1 of the classes: {macro:.2f}"
            + _ranked(figures, stale=stale)
        )
    name, map50 = "mAP50", figures.get("map50")
    if not classes:
        name, map50 = "AP50, classes ignored,", figures.get("any_class", {}).get("ap50")
    text = "–" if map50 is None else f"{map50:.2f}"
    if stale:
        text = "… (measured again in a moment)"
    elif classes and map50 is not None and figures.get("interval"):
        low, high = figures["interval"]
        text += f" ({low:.2f}–{high:.2f})"
    return (
        f"{what}<br><b>{name} {text}</b> {where}<br>"
        f"Cells found: precision {totals.precision:.2f}, recall {totals.recall:.2f}, "
        f"F1 {totals.f1:.2f}<br>"
        + (f"Right class, of those found: {right}<br>" if classes else "It gives no classes<br>")
        + f"Count: off by {totals.count_error:.1f} cells an image"
    )


def _ranked(figures: Mapping[str, Any], *, stale: bool) -> str:
    """Return what a classifier's probabilities are worth; empty where there are none."""
    named = {
        "ROC-AUC": figures.get("roc_auc"),
        "average precision": figures.get("average_precision"),
        "calibration error": figures.get("calibration_error"),
    }
    if all(value is None for value in named.values()):
        return ""
    texts = [
        f"{name} {'…' if stale else '–' if value is None else f'{value:.2f}'}"
        for name, value in named.items()
    ]
    return f"<br>{', '.join(texts)}"


def class_table(lines: Sequence[ClassLine], names: Mapping[int, str]) -> str:
    """Return precision, recall and F1 of every class (rich text)."""
    rows = [_cells("th", ["", "precision", "recall", "F1", "cells"])]
    for line in lines:
        if not (line.support or line.said):
            continue
        rows.append(
            _cells(
                "td",
                [
                    _short(names.get(line.class_id, "?")),
                    _share(line.precision, line.precision_interval) if line.said else "–",
                    _share(line.recall, line.recall_interval) if line.support else "–",
                    f"{line.f1:.2f}" if line.support else "–",
                    f"{line.support:,}",
                ],
            )
        )
    return _table(rows)


def source_table(lines: Sequence[SourceLine], *, boxes: bool) -> str:
    """Return the figures of every source, the worst first (rich text); empty for one source."""
    if len(lines) < 2:
        return ""
    heads = ["", "images", "found F1", "right class"] if boxes else ["", "cells", "right class"]
    rows = [_cells("th", heads)]
    for line in lines[:MOST_SOURCES]:
        t = line.totals
        mark = "▼ " if line.is_worse else ""
        right = _share(t.classed_right, t.interval) if t.found else "–"
        figures = [f"{t.images:,}", f"{t.f1:.2f}"] if boxes else [f"{t.cells:,}"]
        rows.append(_cells("td", [mark + _short(_tail(line.source)), *figures, right]))
    more = len(lines) - MOST_SOURCES
    return _table(rows) + (f"and {more} more" if more > 0 else "")


def in_words(mix: MixUp, names: Mapping[int, str]) -> str:
    """Return a mix-up in a sentence, e.g. ``5 of 72 WBC (7 %) said to be RBC``."""
    true, said = (name_of(c, names, "") for c in (mix.true, mix.said))
    whole = round(mix.cells / mix.share)
    share = f"{mix.cells:,} of {whole:,}"
    percent = f"({mix.share:.0%})"
    if mix.true == NOTHING:
        return f"{share} {said} boxes {percent}: no cell there"
    if mix.said == NOTHING:
        return f"{share} {true} {percent} missed"
    if mix.said is None:
        return f"{share} {true} {percent} without a class of the project"
    return f"{share} {true} {percent} said to be {said}"


def _tail(source: str) -> str:
    return source if len(source) <= LONGEST_NAME else "…" + source[-LONGEST_NAME:]


def _short(text: str) -> str:
    return escape(text if len(text) <= LONGEST_NAME + 1 else text[:LONGEST_NAME] + "…")


def _share(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"<b>{value:.2f}</b><br><small>{low:.2f}–{high:.2f}</small>"


def _cells(tag: str, texts: Iterable[str]) -> str:
    cells = [f'<{tag} align="left">{text}&nbsp;&nbsp;</{tag}>' for text in texts]
    return f"<tr>{''.join(cells)}</tr>"


def _table(rows: Iterable[str]) -> str:
    return f'<table cellspacing="0" cellpadding="1">{"".join(rows)}</table>'
