"""Weights and numbers of points of the published loss. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LossParams:
    """Weights and numbers of points of the loss; by default the published ones.

    Parameters
    ----------
    class_weight, mask_weight, dice_weight : float
        Of the loss's three terms, and of the matching cost's.
    no_object_weight : float
        Of queries without an object in the cross entropy; those with one weigh 1.
    n_points : int
        Where masks are compared. A 4 × 4 px object in 640 × 640 px is missed by all of 12,544
        matching points six times in ten: small objects want more points, or larger objects.
    oversampling : float
        Candidates for each loss point.
    uncertain_share : float
        Share of the loss points that are taken where the prediction is least certain.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    n_points: int = 12_544
    oversampling: float = 3.0
    uncertain_share: float = 0.75

    @classmethod
    def from_config(cls, config: Any, n_points: int) -> LossParams:
        """Take the parameters that a model of transformers was configured with.

        Parameters
        ----------
        config : EomtConfig or EomtDinov3Config
        n_points : int
            Where masks are compared; see `resolve_for_network`.
        """
        return cls(
            class_weight=config.class_weight,
            mask_weight=config.mask_weight,
            dice_weight=config.dice_weight,
            no_object_weight=config.no_object_weight,
            n_points=n_points,
            oversampling=config.oversample_ratio,
            uncertain_share=config.importance_sample_ratio,
        )
