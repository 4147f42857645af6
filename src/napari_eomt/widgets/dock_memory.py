"""What the dock shows, kept for the next time that it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from napari_eomt.inference.params import PredictParams
from napari_eomt.settings import save_settings
from napari_eomt.widgets.model_options import RunChoice

if TYPE_CHECKING:
    from napari_eomt.settings import Settings
    from napari_eomt.widgets.dock import EomtDock


class DockMemory:
    """Brings the dock to where it was, and saves where it is.

    Parameters
    ----------
    dock : EomtDock
    settings : Settings
        Of last time.
    """

    def __init__(self, dock: EomtDock, settings: Settings) -> None:
        self._dock = dock
        self._settings = settings

    def restore(self) -> None:
        """Show what was shown last time."""
        dock, settings = self._dock, self._settings
        dock.options.choose(settings.device, settings.dtype)
        dock.page.outlines.setChecked(settings.outlines)
        dock.page.by_category.setChecked(settings.by_category)
        dock.page.tracking.restore(
            settings.track, videos=settings.track_videos, images=settings.track_images
        )
        for name, fold in dock.folds().items():
            fold.set_open(name in settings.open_folds)
        dock.show_page(settings.page)

    def save(self) -> None:
        """Save what is shown, unless a value makes no sense: the page says so then."""
        dock = self._dock
        try:
            predict = dock.page.form.params().model_dump(exclude_defaults=True)
        except ValidationError:
            return  # what was right before stays saved
        chosen = dock.options.chosen
        sizes = {name: choice.input_size for name, choice in chosen.items()}
        self._settings = self._settings.model_copy(
            update={
                "model": dock.model.model,
                "input_sizes": {name: size for name, size in sizes.items() if size is not None},
                "compiled": tuple(name for name, choice in chosen.items() if choice.compiled),
                "device": str(dock.options.device.currentData()),
                "dtype": str(dock.options.dtype.currentData()),
                "predict": predict,
                **dock.page.tracking.values(),
                "outlines": dock.page.outlines.isChecked(),
                "by_category": dock.page.by_category.isChecked(),
                "export": dock.export.form.values(),
                "train": dock.train.values(),
                "page": dock.page_of(dock.tabs.currentIndex()),
                "open_folds": tuple(n for n, fold in dock.folds().items() if fold.is_open),
            }
        )
        save_settings(self._settings)


def saved_choices(settings: Settings) -> dict[str, RunChoice]:
    """Return what was chosen last time for each model that does not run as it is."""
    return {
        name: RunChoice(settings.input_sizes.get(name), name in settings.compiled)
        for name in {*settings.input_sizes, *settings.compiled}
    }


def saved_params(saved: dict[str, Any]) -> PredictParams:
    """Return the parameters of last time; the defaults if another version saved them."""
    try:
        return PredictParams(**saved)
    except ValidationError:
        return PredictParams()
