"""Pieces of a self-contained HTML page: nothing in it is fetched, all text is escaped."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Markup:
    """HTML that is taken as it is; any other text is escaped."""

    text: str


Text: TypeAlias = str | Markup

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff;
  max-width: 1000px; margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 8px;
  border-bottom: 1px solid #d5dae0; padding-bottom: 4px; }
h3 { font-size: 15px; margin: 12px 0 4px; }
p { margin: 6px 0; } .quiet { color: #57606a; font-size: 13px; }
table { border-collapse: collapse; margin: 8px 0; } th { text-align: left; font-weight: 600; }
th, td { padding: 4px 14px 4px 0; vertical-align: top; border-bottom: 1px solid #eaeef2; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
table.matrix td, table.matrix th { border: 1px solid #d5dae0; padding: 6px 12px; }
table.matrix td { text-align: right; min-width: 58px; } table.matrix th.corner { border: 0; }
.range { color: #57606a; font-size: 12px; white-space: nowrap; } .worse { color: #a33b00; }
table.matrix .range { color: #1b1f24; }
.side { display: flex; flex-wrap: wrap; gap: 28px; } figure { margin: 8px 0; }
.row { display: flex; flex-wrap: wrap; gap: 6px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; } .card { border: 1px solid #d5dae0;
  border-radius: 6px; padding: 8px 14px; } .card b { display: block; font-size: 22px; }
figcaption { font-size: 13px; color: #57606a; max-width: 420px; }
svg { max-width: 100%; height: auto; } .cells figure { width: 130px; overflow-wrap: anywhere; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


def text_of(text: Text) -> str:
    """Return text as HTML."""
    return text.text if isinstance(text, Markup) else escape(text)


def page(title: str, parts: Iterable[Markup]) -> str:
    """Return a whole document."""
    body = "\n".join(part.text for part in parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def element(tag: str, *inside: Text, kind: str = "") -> Markup:
    """Return an element; ``kind`` is its class."""
    attribute = f' class="{escape(kind)}"' if kind else ""
    return Markup(f"<{tag}{attribute}>{''.join(text_of(t) for t in inside)}</{tag}>")


def section(title: str, *parts: Markup) -> Markup:
    """Return parts below a heading."""
    return Markup("\n".join(p.text for p in (element("h2", title), *parts)))


def table(heads: Sequence[Text], rows: Iterable[Sequence[Text]], *, left: int = 1) -> Markup:
    """Return a table whose first ``left`` columns are words, and the others numbers."""

    def line(tag: str, cells: Sequence[Text]) -> str:
        done = (element(tag, c, kind="" if k < left else "n").text for k, c in enumerate(cells))
        return f"<tr>{''.join(done)}</tr>"

    return Markup(f"<table>{line('th', heads)}{''.join(line('td', row) for row in rows)}</table>")


def bullets(lines: Iterable[Text]) -> Markup:
    """Return a list."""
    return element("ul", *(element("li", line) for line in lines))


def share(value: float | None, interval: Sequence[float] | None = None) -> Text:
    """Return a share in 0..1, with its interval; a dash where it is not known."""
    if value is None:
        return "–"
    if interval is None:
        return f"{value:.3f}"
    low, high = interval
    return Markup(f'{value:.3f} <span class="range">{low:.3f}–{high:.3f}</span>')


def cards(pairs: Iterable[tuple[str, str, str]]) -> Markup:
    """Return key figures: (figure, what it is, a remark)."""
    return element(
        "div",
        *(
            element(
                "div",
                element("b", figure),
                what,
                Markup("<br/>"),
                element("span", remark, kind="range"),
                kind="card",
            )
            for figure, what, remark in pairs
        ),
        kind="cards",
    )
