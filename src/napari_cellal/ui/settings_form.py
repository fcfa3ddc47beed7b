"""A form made of a pydantic model's fields, so that a new field appears by itself."""

from __future__ import annotations

import json
import types
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

from psygnal import Signal
from pydantic import BaseModel, ValidationError
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSpinBox, QCheckBox, QGridLayout, QLabel, QLineEdit, QWidget

from napari_cellal.core.errors import CellalError

from .controls import ComboBox, SpinBox, heading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic.fields import FieldInfo

_UNITS = {"px": " px", "mb": " MB", "um": " µm"}
_MOST = 1e9
UNSET = "not set"


class Number(SpinBox):
    """A number field; at its lowest value it may say that nothing is set."""

    def __init__(
        self, low: float, high: float, decimals: int, tooltip: str, optional: bool
    ) -> None:
        super().__init__(low, high, 1, low, tooltip, decimals)
        self._optional = optional
        self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType) if decimals else None
        if optional:
            self.setSpecialValueText(UNSET)

    def textFromValue(self, value: float) -> str:
        """Return the number without zeros at its end."""
        text = super().textFromValue(value)
        point = self.locale().decimalPoint()
        return text.rstrip("0").rstrip(point) if point in text else text

    def read(self) -> float | int | None:
        """Return the number, None where nothing is set."""
        if self._optional and self.value() == self.minimum():
            return None
        return self.value() if self.decimals() else round(self.value())

    def write(self, value: float | None) -> None:
        """Show another number."""
        self.setValue(self.minimum() if value is None else value)


class SettingsForm(QWidget):
    """Shows the fields of a settings model in groups; what stands below a field is its tooltip.

    Parameters
    ----------
    value : BaseModel
        What is shown first.
    groups : iterable of (title, names)
        Fields that none of them names come last, under "More".

    Attributes
    ----------
    changed : Signal()
        A person changed a field.
    """

    changed = Signal()

    def __init__(self, value: BaseModel, groups: Iterable[tuple[str, Iterable[str]]] = ()) -> None:
        super().__init__()
        self._base = value
        self._is_filling = False
        self._shown: dict[str, Any] = {}
        self.fields: dict[str, QWidget] = {}
        known = type(value).model_fields
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.setColumnStretch(0, 1)
        named = [(title, [n for n in names if n in known]) for title, names in groups]
        taken = {name for _, names in named for name in names}
        named.append(("More", [name for name in known if name not in taken]))
        for title, names in named:
            if not names:
                continue
            layout.addWidget(heading(title), layout.rowCount(), 0, 1, 2)
            for name in names:
                info = known[name]
                text, unit = _words(name)
                widget = self._editor(info, text, unit)
                self.fields[name] = widget
                label = QLabel(info.title or text)
                label.setToolTip(widget.toolTip())
                at = layout.rowCount()
                layout.addWidget(label, at, 0)
                layout.addWidget(widget, at, 1, Qt.AlignmentFlag.AlignRight)
        self.set_value(value)

    def _editor(self, info: FieldInfo, text: str, unit: str) -> QWidget:
        kinds = _kinds(info.annotation)
        tip = " ".join((info.description or info.title or text).replace("``", "").split())
        kind = kinds[0]
        if get_origin(kind) is Literal:
            combo = ComboBox(tip)
            for value in get_args(kind):
                combo.addItem(str(value), value)
            combo.setFixedWidth(130)
            combo.activated.connect(self._on_change)
            return combo
        if kind is bool:
            box = QCheckBox()
            box.setToolTip(tip)
            box.toggled.connect(self._on_change)
            return box
        if kind in (int, float):
            low, high = _bounds(info)
            optional = type(None) in kinds
            decimals = 6 if kind is float else 0
            if low is None:
                low = 0 if optional else -_MOST
            number = Number(low, _MOST if high is None else high, decimals, tip, optional)
            number.setFixedWidth(130)
            number.setSuffix(unit)
            number.valueChanged.connect(self._on_change)
            return number
        line = QLineEdit()
        line.setToolTip(tip)
        line.setFixedWidth(130)
        line.editingFinished.connect(self._on_change)
        return line

    def _on_change(self, *_: object) -> None:
        if not self._is_filling:
            self.changed.emit()

    def set_value(self, value: BaseModel, *, keep: bool = False) -> None:
        """Show a model's values; ``keep`` leaves those that a person changed as they are."""
        kept = self.changes() if keep else {}
        self._is_filling = True
        for name, widget in self.fields.items():
            _write(widget, getattr(value, name))
        self._shown = {name: _read(widget) for name, widget in self.fields.items()}
        for name, changed in kept.items():
            _write(self.fields[name], changed)
        self._is_filling = False
        self._base = value

    def change(self, name: str, value: Any) -> None:
        """Change one field, as a person would."""
        _write(self.fields[name], value)

    @property
    def base(self) -> BaseModel:
        """The model that was shown, without what a person changed."""
        return self._base

    def changes(self) -> dict[str, Any]:
        """Return the fields that a person changed; what was only shown keeps all its digits."""
        now = {name: _read(widget) for name, widget in self.fields.items()}
        return {name: value for name, value in now.items() if value != self._shown[name]}

    def value(self) -> BaseModel:
        """Return the model as it is in the form.

        Raises
        ------
        CellalError
            If a value is none that the model takes.
        """
        try:
            return type(self._base).model_validate(self._base.model_dump() | self.changes())
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            text = f"{_words(name)[0]}: {first['msg']}." if name else f"{first['msg']}."
            raise CellalError(f"{text} Change it under Advanced.") from error


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) in (Union, types.UnionType):
        args = get_args(annotation)
        return tuple(sorted(args, key=lambda kind: kind is type(None)))
    return (annotation,)


def _bounds(info: FieldInfo) -> tuple[float | None, float | None]:
    """Return the least and the highest value that the field says, None where it says nothing."""
    low = high = None
    tiny = 0 if _kinds(info.annotation)[0] is int else 1e-6
    for rule in info.metadata:
        low = getattr(rule, "ge", low)
        high = getattr(rule, "le", high)
        if (above := getattr(rule, "gt", None)) is not None:
            # at the bound itself an optional field says that nothing is set
            low = above if type(None) in _kinds(info.annotation) else above + (tiny or 1)
        if (below := getattr(rule, "lt", None)) is not None:
            high = below - (tiny or 1)
    return low, high


def _words(name: str) -> tuple[str, str]:
    """Return a field's name for a person, and its unit."""
    head, _, tail = name.rpartition("_")
    unit = _UNITS.get(tail, "")
    text = (head if unit else name).replace("_", " ")
    return text[:1].upper() + text[1:], unit


def _read(widget: QWidget) -> Any:
    if isinstance(widget, Number):
        return widget.read()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, ComboBox):
        return widget.currentData()
    assert isinstance(widget, QLineEdit)
    try:
        return json.loads(widget.text())
    except ValueError:  # plain words
        return widget.text()


def _write(widget: QWidget, value: Any) -> None:
    if isinstance(widget, Number):
        widget.write(value)
    elif isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, ComboBox):
        widget.setCurrentIndex(widget.findData(value))
    elif isinstance(widget, QLineEdit):
        widget.setText(value if isinstance(value, str) else json.dumps(value))
