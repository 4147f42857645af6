"""All that is known of one model: what it is, what it finds, how well, and where it is."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QListWidget, QVBoxLayout, QWidget

from napari_eomt.models.card import ARCHITECTURES
from napari_eomt.models.hub_errors import page_of
from napari_eomt.models.rows import MISSING, count_text, size_text
from napari_eomt.widgets.model_table import title_of
from napari_eomt.widgets.params_form import TASK_WORDS

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard
    from napari_eomt.models.catalog import CatalogEntry
    from napari_eomt.models.rows import ModelRow

LIST_LINES = 7


class ModelCardView(QWidget):
    """Shows one model, with its categories in a list that can be searched."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: tuple[ModelRow | None, int] = (None, 0)
        self._link_color = ""
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextBrowserInteraction)
        self.text.setOpenExternalLinks(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search its categories")
        self.search.setClearButtonEnabled(True)
        self.categories = QListWidget()
        self.categories.setUniformItemSizes(True)
        self.count = QLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.count)
        layout.addWidget(self.search)
        layout.addWidget(self.categories, 1)
        line = self.categories.fontMetrics().lineSpacing() + 4
        self.categories.setMinimumHeight(LIST_LINES * line)
        self.search.textChanged.connect(self._show_found)
        self.show_row(None)

    def show_link_color(self, color: str) -> None:
        """Show links in a colour that can be read in the theme."""
        self._link_color = color
        self._show_text()

    def show_row(self, row: ModelRow | None, bytes_on_disk: int = 0) -> None:
        """Show a model, or that none is chosen.

        Parameters
        ----------
        row : ModelRow or None
        bytes_on_disk : int
            What deleting it would free.
        """
        self._shown = (row, bytes_on_disk)
        self._show_text()
        card = None if row is None else row.card
        self.categories.clear()
        if card is not None:
            kinds = {True: "thing", False: "stuff"}
            self.categories.addItems(
                [f"{c.id}  {c.name}  ·  {kinds[c.is_thing]}" for c in card.categories]
            )
        for widget in (self.count, self.categories):
            widget.setVisible(card is not None)
        self.search.setVisible(card is not None and len(card.categories) > LIST_LINES)
        self.search.clear()
        self._show_found()

    def _show_text(self) -> None:
        row, bytes_on_disk = self._shown
        html = "Choose a model." if row is None else card_html(row, bytes_on_disk)
        # A style sheet of the label does not reach what is inside, nor does napari's.
        if self._link_color:
            html = html.replace("<a ", f"<a style='color: {self._link_color}' ")
        self.text.setText(html)

    def _show_found(self) -> None:
        words = self.search.text().lower().split()
        n_all = self.categories.count()
        n_shown = 0
        for k in range(n_all):
            item = self.categories.item(k)
            if item is not None:
                is_shown = all(word in item.text().lower() for word in words)
                item.setHidden(not is_shown)
                n_shown += is_shown
        of = f"{n_shown} of {n_all}" if words else f"{n_all}"
        self.count.setText(f"<b>Categories</b>: {of}")
        self.count.setToolTip("Things are countable objects; stuff is regions, such as sky.")


def card_html(row: ModelRow, bytes_on_disk: int = 0) -> str:
    """Return what there is to say about a model, less its categories, as rich text."""
    card = row.card
    facts: list[tuple[str, str]] = []
    about = "" if card is None else card.description[:1].upper() + card.description[1:]
    if row.problem:
        advice = _advice(row)
        about = f"⚠ {row.problem[:1].upper()}{row.problem[1:].rstrip('.')}. {advice}"
    if card is not None:
        facts += _what_it_is(card)
    if row.entry is not None:
        facts += _what_is_published(row.entry)
    if card is not None and card.licence:
        facts.append(("Licence", escape(card.licence)))
    where = _where(row, bytes_on_disk)
    if where:
        facts.append(("On disk", where))
    rows = "".join(
        f"<tr><td style='padding-right:8px'><b>{name}</b></td><td>{text}</td></tr>"
        for name, text in facts
    )
    return f"<h3>{escape(title_of(row))}</h3><p>{escape(about)}</p><table>{rows}</table>"


def _what_it_is(card: ModelCard) -> list[tuple[str, str]]:
    words = ", ".join(f"{TASK_WORDS[task][0]} ({task})" for task in card.tasks)
    thresholds = ", ".join(
        f"{name.removesuffix('_threshold')} {value:g}"
        for name, value in card.thresholds
        if value is not None
    )
    facts = [
        ("Finds", words + (", over the frames of videos" if card.is_video else "")),
        ("Network", ARCHITECTURES[card.architecture]),
        ("Input", f"{card.input_size} × {card.input_size} px, at most {card.n_queries} objects"),
        ("Size", f"{count_text(card.n_parameters)} parameters, {size_text(card.n_bytes)}"),
    ]
    if card.object_size:
        facts.append(("Best for", f"objects near {card.object_size:g} px of the input"))
    if thresholds:
        facts.append(("Thresholds", f"{thresholds} (recommended)"))
    return facts


def _what_is_published(entry: CatalogEntry) -> list[tuple[str, str]]:
    facts = [("Backbone", entry.backbone)]
    scores = [score for score in (entry.score, *entry.other_scores) if score is not None]
    if scores:
        told = ", ".join(f"{score.metric} {score.value:.1f}" for score in scores)
        facts.append(("Score", escape(f"{told} on {scores[0].dataset}")))
    if entry.speed is not None:
        speed = f"{entry.speed.images_per_second:g} images/s on {entry.speed.hardware}"
        facts.append(("Speed", escape(speed)))
    facts.append(("Source", _link(entry.hub_id)))
    if entry.base is not None:
        facts.append(("Added to", _link(entry.base)))
    if entry.gated:
        page = _link(entry.base or entry.hub_id)
        facts.append(
            ("Access", f"Sign in at {page}, accept the licence, then run <tt>hf auth login</tt>.")
        )
    return facts


def _where(row: ModelRow, bytes_on_disk: int) -> str:
    if row.kind == "bundled":
        return "comes with the plugin"
    folder = "" if row.folder is None else escape(str(row.folder))
    if row.folder is None and bytes_on_disk:
        folder = "in part; the download goes on from there"
    size = f" ({size_text(bytes_on_disk)})" if bytes_on_disk else ""
    # Long paths would not wrap.
    return folder.replace("/", "/\u200b").replace("\\", "\\\u200b") + size if folder else ""


def _link(repo_id: str) -> str:
    page = page_of(repo_id)
    return f"<a href='{escape(page)}'>{escape(repo_id)}</a>"


def _advice(row: ModelRow) -> str:
    if row.kind == "published":
        return "Delete it, then download it again."
    if row.problem == MISSING:
        return "Bring the folder or its disk back, or remove the model."
    return "Remove it, or put the folder right."
