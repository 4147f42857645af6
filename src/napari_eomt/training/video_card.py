"""What a model is when it is to learn videos: an EoMT becomes a VidEoMT. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import ModelError

if TYPE_CHECKING:
    from napari_eomt.models.card import ModelCard

BECOMES_VIDEO = (
    "{name} is of images and becomes a model of videos: how an object's query goes from frame to "
    "frame is learnt anew, all else goes on."
)
"""What the user should know of a model of images."""


def as_video_card(card: ModelCard) -> ModelCard:
    """Return what a model is when it is to learn videos.

    Raises
    ------
    ModelError
        If there is no VidEoMT of its kind.
    """
    if card.is_video:
        return card
    if card.architecture != "eomt":
        raise ModelError(
            f"{card.name} is an EoMT-DINOv3, of which there is no model of videos. Choose a "
            "VidEoMT or an EoMT with a DINOv2 backbone."
        )
    return card.model_copy(update={"architecture": "videomt"})
