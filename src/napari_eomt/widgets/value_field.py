"""A field of a form for one field of a params class: what it takes is read from the class."""

from __future__ import annotations

import types
import typing
from typing import TYPE_CHECKING, Any, Literal

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QLineEdit, QWidget

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_NOTHING = "auto"
"""What is shown for None."""


class ValueField(QObject):
    """Shows and edits one value.

    Parameters
    ----------
    info : FieldInfo
        Of a pydantic class. Flags become check boxes, words a list, numbers with words an editable
        list, everything else text; the class itself checks what is typed.

    Attributes
    ----------
    widget : QWidget
    """

    changed = Signal()

    def __init__(self, info: FieldInfo, parent: QObject | None = None) -> None:
        super().__init__(parent)
        kinds = _kinds(info.annotation)
        words = [w for k in kinds if typing.get_origin(k) is Literal for w in typing.get_args(k)]
        self._takes_none = type(None) in kinds
        rest = [k for k in kinds if typing.get_origin(k) is not Literal and k is not type(None)]
        self._is_tuple = any(typing.get_origin(k) is tuple for k in rest)
        self._shown: Any = object()
        self._box: QCheckBox | None = None
        self._combo: QComboBox | None = None
        self._text: QLineEdit | None = None
        if rest == [bool]:
            self._box = QCheckBox()
            self._box.toggled.connect(self.changed)
        elif words:
            self._combo = QComboBox()
            shown = ([_NOTHING] if self._takes_none else []) + [str(word) for word in words]
            self._combo.addItems(shown)
            self._combo.setEditable(bool(rest))
            self._combo.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
            self._combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            self._combo.setMinimumContentsLength(4)
            self._combo.currentTextChanged.connect(self.changed)
        else:
            self._text = QLineEdit()
            if self._takes_none:
                self._text.setPlaceholderText(_NOTHING)
            self._text.editingFinished.connect(self.changed)
        self.widget: QWidget = self._box or self._combo or self._text or QWidget()
        extra = info.json_schema_extra
        unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
        self.title = f"{info.title} [{unit}]" if unit else str(info.title)
        self.widget.setToolTip(f"{info.description}{_range(info)}")

    @property
    def value(self) -> Any:
        """What is shown, as the class takes it: a flag, None, or text, or a tuple of texts."""
        if self._box is not None:
            return self._box.isChecked()
        text = self._combo.currentText() if self._combo is not None else ""
        text = (self._text.text() if self._text is not None else text).strip()
        if self._takes_none and text in ("", _NOTHING):
            return None
        if self._is_tuple and text != _NOTHING:
            return tuple(text.replace(",", " ").split())
        return text

    def show_value(self, value: Any) -> None:
        """Show another value, without `changed`."""
        text = _NOTHING if value is None else _text_of(value)
        blocked = self.widget.blockSignals(True)
        if self._box is not None:
            self._box.setChecked(bool(value))
        elif self._combo is not None:
            place = self._combo.findText(text)
            if place >= 0:
                self._combo.setCurrentIndex(place)
            elif self._combo.isEditable():
                self._combo.setCurrentText(text)
        elif self._text is not None:
            self._text.setText("" if value is None else text)
        self.widget.blockSignals(blocked)
        self._shown = self.value

    def take(self) -> bool:
        """Return whether somebody has changed what is shown since it was shown or taken.

        What is shown may be rounded: who only passes by with the keyboard changes nothing.
        """
        shown, self._shown = self._shown, self.value
        return bool(shown != self._shown)


def _kinds(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(kind for arg in typing.get_args(annotation) for kind in _kinds(arg))
    return (annotation,)


def _text_of(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text_of, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _range(info: FieldInfo) -> str:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{words} {getattr(item, name):g}"
        for item in info.metadata
        for name, words in signs.items()
        if hasattr(item, name)
    ]
    return f" ({', '.join(found)})" if found else ""
