"""The page that shows data before there is a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .drawing import crop_img
from .html import Markup, bullets, element, page, section, table
from .report_data import overview

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .report import Report


def data_html(report: Report, notes: Sequence[str], examples: Mapping[int, Sequence[bytes]]) -> str:
    """Return the page of a report without a model.

    Parameters
    ----------
    notes : sequence of str
        What should be mended or known first.
    examples : {class_id: JPEGs}
        Some cells of each class.
    """
    parts = [
        element("h1", report.title),
        table(("", ""), [(what, text) for what, text in report.facts], left=2),
    ]
    if notes:
        parts.append(section("To know first", bullets(notes)))
    parts.append(overview(report))
    if examples:
        parts.append(_examples(report, examples))
    return page(report.title, parts)


def _examples(report: Report, examples: Mapping[int, Sequence[bytes]]) -> Markup:
    parts = []
    for class_id, jpegs in examples.items():
        name = report.name(class_id, "")
        pictures = [crop_img(jpeg, name) for jpeg in jpegs]
        parts += [element("h3", name), element("div", *pictures, kind="row")]
    return section("Some of each class", *parts)
