"""The command line: the same workflows as the window, without a window.

Results go to stdout (with ``--json`` as one JSON object), progress and messages to stderr.
Exit code 0: done; 1: a problem that one sentence explains; 2: wrong usage.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError

from .arguments import make_parser
from .running import say

if TYPE_CHECKING:
    from collections.abc import Sequence


MOST_LINES = 12
"""A longer list is not printed for a person."""


def _show(value: Any, indent: int = 0) -> list[str]:
    """Return a result as indented lines."""
    pad = "  " * indent
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                lines += [f"{pad}{key}:", *_show(item, indent + 1)]
            else:
                lines.append(f"{pad}{key}: {'-' if item in (None, {}, []) else item}")
        return lines
    if isinstance(value, list) and len(value) > MOST_LINES:
        return [f"{pad}({len(value)} entries; --json prints them)"]
    if isinstance(value, list):
        return [line for item in value for line in _show(item, indent)]
    return [f"{pad}{value}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        result = arguments.run(arguments)
    except CellalError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped. What was finished by then is kept.")
        return 1
    text = json.dumps(result, indent=None if arguments.json else 2)
    sys.stdout.write(f"{text}\n" if arguments.json else "\n".join(_show(result)) + "\n")
    return 0
