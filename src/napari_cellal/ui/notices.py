"""Sentences for the person, shown over the image for a while.

Not napari's notifications: those show the first line of a sentence only, are cut off where the
canvas is narrower than 400 px, stay for good where two overlap or the window was not active, and
give the keys to the canvas when they go: what was being typed into a field would class cells.
"""

from __future__ import annotations

import logging

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QApplication, QFrame, QHBoxLayout, QLabel, QToolButton, QWidget

log = logging.getLogger(__name__)

_ERROR, _NEWS = "#D55E00", "#0077BB"  # Okabe and Ito's vermilion; the main button's blue
_STYLE = (
    "QFrame#cellal_notice {{ border: 1px solid {edge}; border-left: 5px solid {edge};"
    " border-radius: 3px; }}"
)
_WIDTH_PX = 420
_MARGIN_PX = 8
_LEAST_MS = 4_000
_MS_A_CHARACTER = 70
"""Some 14 characters a second, unhurried reading."""
_ACTS = (QEvent.Type.KeyPress, QEvent.Type.MouseButtonPress)
_ERRORS = 3
"""So many are shown at a time; older ones are in the log."""


class Notice(QFrame):
    """Sentences at the lower right of a widget, whole, however narrow the widget is.

    News goes after the time that reading takes, not while the mouse rests on it or the window is
    not the active one. An error stays beside the news that follows: after that time it goes with
    the next key or click, so not while nobody is there. The keys stay where they are.
    """

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("cellal_notice")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.away = QToolButton()
        self.away.setText("×")
        self.away.setToolTip("Take this away")
        self.away.setAutoRaise(True)
        self.away.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.away.clicked.connect(self._take_away)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 8, 6, 8)
        layout.addWidget(self.label, 1)
        layout.addWidget(self.away, 0, Qt.AlignmentFlag.AlignTop)
        self._errors: list[str] = []
        self._news = ""
        self._clock = QTimer(self)
        self._clock.timeout.connect(self._on_read)
        parent.installEventFilter(self)
        self.hide()

    def say(self, text: str, error: bool = False) -> None:
        """Show a sentence in place of the news before; errors that are there stay."""
        log.log(logging.WARNING if error else logging.INFO, "%s", text)
        if error:
            others = [known for known in self._errors if known != text]
            self._errors = [*others, text][-_ERRORS:]
        self._news = "" if error else text
        self._listen(False)
        self._show()
        self._clock.start(max(_LEAST_MS, _MS_A_CHARACTER * len(self.label.text())))

    def _show(self) -> None:
        style = _STYLE.format(edge=_ERROR if self._errors else _NEWS)
        if style != self.styleSheet():  # Qt goes through all of the frame again
            self.setStyleSheet(style)
        self.label.setText("\n\n".join(filter(None, (*self._errors, self._news))))
        self.show()  # before it is measured: napari's font comes with the first showing
        self._place()
        self.raise_()

    def _on_read(self) -> None:
        """Take the news away; have an error go with what the person does next."""
        if self.underMouse() or not self.isActiveWindow():
            return
        if not self._errors:
            self._take_away()
            return
        self._clock.stop()
        self._news = ""
        self._show()
        self._listen(True)

    def _take_away(self) -> None:
        self._clock.stop()
        self._listen(False)
        self._errors, self._news = [], ""
        self.hide()

    def _listen(self, wanted: bool) -> None:
        """Hear every event of the program, or no more: only while an error waits."""
        app = QApplication.instance()
        assert app is not None
        app.removeEventFilter(self)
        if wanted:
            app.installEventFilter(self)

    def _place(self) -> None:
        """Fit the sentence into the parent's lower right corner."""
        parent = self.parentWidget()
        width = min(_WIDTH_PX, parent.width() - 2 * _MARGIN_PX)
        self.setFixedWidth(max(width, 1))
        height = self.heightForWidth(self.width())
        self.setFixedHeight(min(height, max(parent.height() - 2 * _MARGIN_PX, 1)))
        self.move(
            parent.width() - self.width() - _MARGIN_PX, parent.height() - self.height() - _MARGIN_PX
        )

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep to the corner when the parent gets another size; hear what the person does."""
        kind = event.type()
        if kind == QEvent.Type.Resize:
            if watched is self.parent() and self.isVisible():
                self._place()
        # A click on the sentence itself would go through to what lies under it.
        elif kind in _ACTS and not self._clock.isActive() and not self.underMouse():
            self._take_away()
        return False
