"""What the tests of the command line share; its fixtures are in conftest.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., Any]


def check(result: dict[str, Any], keys: dict[str, Any]) -> dict[str, Any]:
    """Return the result, which has exactly these keys, of these types or one of several."""
    assert set(result) == set(keys)
    for key, kinds in keys.items():
        assert type(result[key]) in (kinds if isinstance(kinds, tuple) else (kinds,)), key
    return result
