"""Settings of a training by their names, as the window's Advanced part shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from napari_cellal.core.errors import CellalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

S = TypeVar("S", bound=BaseModel)


def told(pairs: Iterable[str], settings: type[BaseModel]) -> dict[str, str]:
    """Return {name: value} of texts such as ``dropout=0.3``.

    Raises
    ------
    CellalError
        If one is no such pair, or there is no setting of its name.
    """
    found = {}
    for pair in pairs:
        name, there, value = (part.strip() for part in pair.partition("="))
        if not there or name not in settings.model_fields:
            raise CellalError(
                f"--set takes NAME=VALUE, not '{pair}'. Names are: "
                f"{', '.join(settings.model_fields)}."
            )
        found[name] = value
    return found


def changed(settings: S, update: Mapping[str, Any]) -> S:
    """Return settings with some changed, all checked.

    Raises
    ------
    CellalError
        If a value does not fit.
    """
    try:
        return type(settings).model_validate(settings.model_dump() | dict(update))
    except ValidationError as error:
        first = error.errors()[0]
        raise CellalError(f"The setting {first['loc'][0]} does not fit: {first['msg']}.") from error
