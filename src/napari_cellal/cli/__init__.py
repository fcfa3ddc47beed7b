"""The command line: the same workflows as the window, without a window.

Results go to stdout (with ``--json`` as one JSON object), progress and messages to stderr.
Exit code 0: done; 1: a problem that one sentence explains; 2: wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from napari_cellal.core.errors import CellalError
from napari_cellal.workflows.in_words import in_words

from .arguments import make_parser
from .running import say

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


MOST_LINES = 1000
"""Of a longer list the rest is counted, for a person."""


def _show(value: Any) -> list[str]:
    """Return a result as lines: numbers beside each other, what belongs together behind a dash."""
    if isinstance(value, dict):
        lines = []
        for key, item in value.items():
            shown = _show(item)
            if isinstance(item, dict | list) and item and not _is_short(item):
                lines += [f"{key}:", *(f"  {line}" for line in shown)]
            else:
                lines.append(f"{key}: {shown[0]}")
        return lines or ["-"]
    if isinstance(value, list) and not _is_short(value):
        lines = []
        for item in value[:MOST_LINES]:
            first, *others = _show(item)
            lines += [f"- {first}", *(f"  {line}" for line in others)]
        more = len(value) - MOST_LINES
        return [*lines, f"({more} more; --json prints all)"] if more > 0 else lines
    if isinstance(value, list):
        return [", ".join(_show(item)[0] for item in value) or "-"]
    if isinstance(value, float):
        return [str(round(value, 4))]
    return ["-" if value is None else str(value)]


def _is_short(value: dict[str, Any] | list[Any]) -> bool:
    """Return whether the values of a list stand on one line."""
    if isinstance(value, dict):
        return False
    simple = all(isinstance(item, str | int | float) for item in value)
    return (
        simple
        and sum(len(str(item)[:12]) + 2 for item in value) < 80
        and not any(isinstance(item, str) and len(item) > 30 for item in value)
    )


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; paths that may be left out may stand behind options, too."""
    parser = make_parser()
    arguments, left = parser.parse_known_args(argv)
    are_paths = not any(word.startswith("-") for word in left)
    if left and are_paths and getattr(arguments, "paths", None) == []:
        # argparse looks for what may be left out before the first option only
        arguments.paths, left = left, []
    if left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = _parsed(argv)
    try:
        result = arguments.run(arguments)
    except CellalError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Stopped. What was finished by then is kept.")
        return 1
    except (OSError, MemoryError, RuntimeError) as error:
        if not (words := in_words(error)):
            raise
        say(words)
        return 1
    text = json.dumps(result, indent=None if arguments.json else 2)
    return _print(text if arguments.json else "\n".join(_show(result)))


def _print(text: str) -> int:
    """Write the result; return the exit code."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()  # here, where it can be told what is wrong, and not at the end
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # `| head` has read enough
            say(f"The command was done, but its result cannot be written ({error.strerror}).")
        # Python flushes what is left once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
