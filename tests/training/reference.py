"""transformers' loss at points that a test chooses, and random problems for it."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import EomtConfig
from transformers.models.eomt import modeling_eomt

from napari_eomt.training.points import read_own
from napari_eomt.training.predictions import Prediction
from napari_eomt.training.targets import ImageTargets

N_LABELS = 5


class FixedMatcher(modeling_eomt.EomtHungarianMatcher):
    """Matches each image at the image's own given points."""

    def fix(self, points):
        self.points = points
        self.num_points = points.shape[1]
        return self

    def forward(self, masks, classes, mask_labels, class_labels):
        found = []
        for i, points in enumerate(self.points):
            one = slice(i, i + 1)
            with torch.no_grad():
                drawn, torch.rand = torch.rand, lambda *_, points=points, **__: points[None]
                try:
                    found += super().forward(
                        masks[one], classes[one], mask_labels[one], class_labels[one]
                    )
                finally:
                    torch.rand = drawn
        return found


class FixedLoss(modeling_eomt.EomtLoss):
    """The loss at given points: one set for each image's matching, one for each pair."""

    def __init__(self, matching_points, loss_points, n_masks=None):
        config = EomtConfig(num_labels=N_LABELS, num_queries=1)
        super().__init__(config, {})
        self.matcher = FixedMatcher(2.0, 5.0, 5.0).fix(matching_points)
        self.loss_points = loss_points
        self.n_masks = n_masks

    def sample_points_using_uncertainty(self, logits, *_):
        return self.loss_points[: len(logits)]

    def get_num_masks(self, class_labels, device):
        if self.n_masks is None:
            return super().get_num_masks(class_labels, device)
        return torch.tensor(float(self.n_masks))


def mask_losses(logits, targets, matches, points):
    """Return the mean cross entropy and the dice loss of each pair at its points, (M,) each.

    Points that the pair's image ignores are not there; without any, both are 0.
    """
    found = []
    for k, (values, at) in enumerate(zip(read_own(logits, points), points, strict=True)):
        target = targets[int(matches.image[k])]
        truth = target.at_own(matches.target[k : k + 1], at[None])[0].float()
        ignored = target.is_ignored_at(at[None])
        if ignored is not None:
            values, truth = values[~ignored[0]], truth[~ignored[0]]
        entropy = functional.binary_cross_entropy_with_logits(values, truth, reduction="sum")
        probability = values.sigmoid()
        shared = (probability * truth).sum()
        dice = 1 - (2 * shared + 1) / (probability.sum() + truth.sum() + 1)
        found.append(torch.stack((entropy / max(1, len(values)), dice)))
    return torch.stack(found, 1) if found else torch.zeros(2, 0)


def random_predictions(n, n_images=2, n_queries=7, seed=0, size=(8, 8), dtype=torch.float32):
    """Make predictions whose factors require gradients."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=generator).to(dtype).requires_grad_()

    return [
        Prediction(
            class_logits=draw(n_images, n_queries, N_LABELS + 1),
            queries=draw(n_images, n_queries, 6),
            features=draw(n_images, size[0] * size[1], 6),
            size=size,
        )
        for _ in range(n)
    ]


def random_objects(counts, size=(24, 24), seed=0):
    """Draw discs that may overlap; list of float masks and of labels, as transformers takes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    masks, labels = [], []
    for n in counts:
        centre = torch.rand((n, 2), generator=generator) * torch.tensor(size)
        radius = 2 + 5 * torch.rand((n, 1, 1), generator=generator)
        distance = (y - centre[:, :1, None]) ** 2 + (x - centre[:, 1:, None]) ** 2
        masks.append((distance <= radius**2).float())
        labels.append(torch.randint(0, N_LABELS, (n,), generator=generator))
    return masks, labels


def as_targets(masks, labels, ignores=None):
    ignores = ignores or [None] * len(masks)
    return [
        ImageTargets(label, masks=mask.bool(), ignore=ignore)
        for mask, label, ignore in zip(masks, labels, ignores, strict=True)
    ]


def gradients(predictions):
    """Return the gradients of all factors, zeros where there are none, and forget them."""
    found = []
    for p in predictions:
        for tensor in (p.class_logits, p.queries, p.features):
            found.append(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone())
            tensor.grad = None
    return found
