"""How runs go, as curves. Imports pyqtgraph: only when the first run is shown."""

from __future__ import annotations

from html import escape
from math import ceil, floor, inf, log10
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt
from qtpy.QtGui import QFont
from qtpy.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget

from napari_eomt.widgets.run_tail import LOSSES, RunNews

if TYPE_CHECKING:
    from collections.abc import Sequence

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's, which the colour-blind tell apart."""

_LINES = (
    (Qt.PenStyle.SolidLine, "━━"),
    (Qt.PenStyle.DashLine, "╍╍"),
    (Qt.PenStyle.DotLine, "••"),
    (Qt.PenStyle.DashDotLine, "━•"),
)
"""Styles of lines, and how a legend writes them."""

_LOSS_WORDS = {"loss": "all", "mask": "masks", "dice": "overlap", "classes": "classes"}
_HEIGHT, _RATE_HEIGHT, _AXIS_HEIGHT = 100, 68, 20
_AXIS_WIDTH = 44  # of all alike, so that a step is at the same place in each
_FONT_PT = 8
_FEW_DECADES = 2  # of the loss, with room for a label between two powers of ten
_LEAST_RANGE = 0.1
"""Of the measure, from 0 to 1, that the plot shows at least."""


class RunPlots(QWidget):
    """The measure on images that check, the loss with its parts, and the learning rate."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.score, self.loss, self.rate = (pg.PlotWidget() for _ in range(3))
        self.heads: dict[Any, QLabel] = {}
        """What each shows, with its legend: at 300 px one inside would hide the curves."""
        self._text = "#808080"
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for plot, tip in (
            (self.score, "On the images that check: higher is better. Dashed: at the start."),
            (self.loss, "How wrong the model is on what it learns from (loss), with its parts."),
            (self.rate, "How fast the heads learn (the learning rate)."),
        ):
            head = self.heads[plot] = QLabel()
            head.setTextFormat(Qt.TextFormat.RichText)
            head.setWordWrap(True)
            head.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            for part in (head, plot):
                part.setToolTip(tip)
                layout.addWidget(part)
            self._prepare(plot)
        for plot in (self.score, self.loss):
            plot.setXLink(self.rate)
            plot.getAxis("bottom").setStyle(showValues=False)
        self.rate.setFixedHeight(_RATE_HEIGHT + _AXIS_HEIGHT)
        self.rate.getAxis("bottom").setHeight(_AXIS_HEIGHT)
        # So low that the numbers of finer ticks would lie on each other.
        self.rate.getAxis("left").setStyle(maxTextLevel=0)
        # The whole is many times its parts.
        self.loss.setLogMode(y=True)

    def show_colors(self, background: str, text: str) -> None:
        """Take the colours of a theme."""
        self._text = text
        for plot in (self.score, self.loss, self.rate):
            plot.setBackground(background)
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(text)
                plot.getAxis(side).setTextPen(text)

    def show_runs(self, news: Sequence[RunNews]) -> None:
        """Show one run with the parts of its loss, or several, each as a line."""
        for plot in (self.score, self.loss, self.rate):
            plot.clear()
        is_one = len(news) == 1
        metrics = sorted({n.metric for n in news if n.metric})
        names = [] if is_one else [each.folder.name for each in news]
        words = [_LOSS_WORDS[name] for name in LOSSES] if is_one else []
        self._show_head(self.score, " · ".join(m.upper() for m in metrics) or "measure", names)
        self._show_head(self.loss, "loss", words)
        self._show_head(self.rate, "learning rate by step", [])
        has_checks = any(n.checks for n in news)
        self.score.setVisible(has_checks)
        # With several runs it says which line is whose.
        self.heads[self.score].setVisible(has_checks or not is_one)
        self._show_score_range(news)
        self._show_loss_ticks(news)
        n_steps = max([1, *(max(each.n_steps, each.step) for each in news)])
        self.rate.setXRange(0, n_steps, padding=0.02)
        if is_one:
            self._show_one(news[0])
            return
        for k, each in enumerate(news):
            pen = self._pen(k)
            self._add_score(each, pen, each.folder.name)
            self._add(self.loss, *each.curves["loss"], pen, each.folder.name)
            self._add(self.rate, *each.curves["learning_rate"], pen, "")

    def _prepare(self, plot: Any) -> None:
        plot.setFixedHeight(_HEIGHT)
        plot.setMinimumWidth(60)
        plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        plot.setMenuEnabled(False)
        plot.hideButtons()
        plot.setMouseEnabled(x=False, y=False)
        # The page scrolls under the wheel.
        plot.viewport().setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        # Else numbers at the ends of the axes are cut.
        plot.plotItem.setContentsMargins(0, 3, 10, 3)
        font = QFont(self.font())
        font.setPointSize(_FONT_PT)
        for side in ("left", "bottom"):
            plot.getAxis(side).setTickFont(font)
        plot.getAxis("left").setWidth(_AXIS_WIDTH)

    def _show_one(self, news: RunNews) -> None:
        self._add_score(news, self._pen(0), "")
        if news.before is not None:
            line = pg.InfiniteLine(
                news.before, 0, pen=pg.mkPen(self._text, width=1, style=Qt.PenStyle.DashLine)
            )
            self.score.addItem(line)
        for k, name in enumerate(LOSSES):
            self._add(self.loss, *news.curves[name], self._pen(k), _LOSS_WORDS[name])
        self._add(self.rate, *news.curves["learning_rate"], self._pen(0), "")

    def _show_loss_ticks(self, news: Sequence[RunNews]) -> None:
        """Label so few values of the logarithmic axis that they do not lie on each other."""
        names = LOSSES if len(news) == 1 else LOSSES[:1]
        curves = [each.curves[name][1] for each in news for name in names]
        above = [float(v) for curve in curves for v in curve if 0 < v < inf]
        if not above:
            self.loss.getAxis("left").setTicks(None)
            return
        low, high = floor(log10(min(above))), ceil(log10(max(above)))
        steps = (1,) if high - low > _FEW_DECADES else (1, 3)
        ticks = [(k + log10(n), f"{n * 10.0**k:g}") for k in range(low, high + 1) for n in steps]
        self.loss.getAxis("left").setTicks([ticks, []])

    def _show_score_range(self, news: Sequence[RunNews]) -> None:
        """Show no hair's breadth as a cliff: at least a range that is worth a look."""
        values = [float(v) for each in news for v in each.curves["score"][1]]
        if not values:
            return
        low, high = min(values), max(values)
        room = max(0.0, _LEAST_RANGE - (high - low)) / 2
        # What the curve itself does not need is shared, but nothing is below 0 or above 1.
        low, high = low - room, high + room
        shift = max(0.0, -low) - max(0.0, high - 1)
        self.score.setYRange(low + shift, high + shift, padding=0.05)

    def _add_score(self, news: RunNews, pen: Any, name: str) -> None:
        steps, values = news.curves["score"]
        if len(steps):
            self.score.plot(
                steps,
                values,
                pen=pen,
                name=name or None,
                symbol="o",
                symbolSize=5,
                symbolBrush=pen.color(),
                symbolPen=None,
            )

    def _add(self, plot: Any, steps: Any, values: Any, pen: Any, name: str) -> None:
        # A logarithm shows no zeros.
        steps, values = steps[values > 0], values[values > 0]
        if len(steps):
            plot.plot(steps, values, pen=pen, name=name or None)

    def _show_head(self, plot: Any, title: str, names: Sequence[str]) -> None:
        parts = [
            f'<span style="color: {COLORS[k % len(COLORS)]}">{_LINES[k % len(_LINES)][1]}</span>'
            f"&nbsp;{escape(name)}"
            for k, name in enumerate(names)
        ]
        self.heads[plot].setText("&nbsp; ".join([f"<b>{escape(title)}</b>", *parts]))

    def _pen(self, k: int) -> Any:
        # Lines differ by style, too, not by colour alone.
        style, _ = _LINES[k % len(_LINES)]
        return pg.mkPen(COLORS[k % len(COLORS)], width=2, style=style)
