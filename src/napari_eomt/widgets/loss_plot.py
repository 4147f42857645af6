"""How runs go, as curves. Imports pyqtgraph: only when the first run is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyqtgraph as pg  # type: ignore[import-untyped]
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_eomt.widgets.run_tail import LOSSES, RunNews

if TYPE_CHECKING:
    from collections.abc import Sequence

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's, which the colour-blind tell apart."""

_LINES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
)
_LOSS_WORDS = {"loss": "all", "mask": "masks", "dice": "overlap", "classes": "classes"}
_HEIGHT = 130


class RunPlots(QWidget):
    """The measure on images that check, the loss with its parts, and the learning rate."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.score, self.loss, self.rate = (pg.PlotWidget() for _ in range(3))
        self._text = "#808080"
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for plot, tip in (
            (self.score, "On the images that check: higher is better. Dashed: at the start."),
            (self.loss, "How wrong the model is on what it learns from (loss), with its parts."),
            (self.rate, "How fast the heads learn (the learning rate)."),
        ):
            plot.setToolTip(tip)
            plot.setFixedHeight(_HEIGHT)
            plot.setMinimumWidth(60)
            plot.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            plot.setMenuEnabled(False)
            plot.hideButtons()
            plot.setMouseEnabled(x=False, y=False)
            # The page scrolls under the wheel.
            plot.viewport().setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
            layout.addWidget(plot)
        self.rate.setFixedHeight(_HEIGHT * 3 // 4)
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
            legend = plot.plotItem.legend
            if legend is not None:
                legend.clear()
        metrics = sorted({n.metric for n in news if n.metric})
        self._title(self.score, " · ".join(m.upper() for m in metrics) or "measure")
        self._title(self.loss, "loss")
        self._title(self.rate, "learning rate")
        self.score.setVisible(any(n.checks for n in news))
        if len(news) == 1:
            self._show_one(news[0])
            return
        for k, each in enumerate(news):
            pen = self._pen(k)
            self._add_score(each, pen, each.folder.name)
            self._add(self.loss, *each.curves["loss"], pen, each.folder.name)
            self._add(self.rate, *each.curves["learning_rate"], pen, "")

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

    def _add_score(self, news: RunNews, pen: Any, name: str) -> None:
        steps, values = news.curves["score"]
        if len(steps):
            if name:
                self._legend(self.score)
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
            if name:
                self._legend(plot)
            plot.plot(steps, values, pen=pen, name=name or None)

    def _legend(self, plot: Any) -> None:
        if plot.plotItem.legend is None:
            plot.addLegend(offset=(-1, 1), labelTextSize="8pt", verSpacing=-6, colCount=2)
        plot.plotItem.legend.setLabelTextColor(QColor(self._text))

    def _title(self, plot: Any, text: str) -> None:
        plot.setTitle(text, color=self._text, size="9pt")

    def _pen(self, k: int) -> Any:
        # Lines differ by style, too, not by colour alone.
        style = _LINES[k % len(_LINES)]
        return pg.mkPen(COLORS[k % len(COLORS)], width=2, style=style)
