"""A network in training on a device: steps, with less at a time when memory runs out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from napari_eomt.errors import ModelError
from napari_eomt.models.segmenter import is_out_of_memory
from napari_eomt.training.averaging import RunningAverage
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.parameter_groups import (
    RateParams,
    make_optimizer,
    set_learning_rates,
)
from napari_eomt.training.schedule import LearningRateSchedule, even_ramps, mask_probabilities
from napari_eomt.training.step import StepReport, train_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.samples import Sample
    from napari_eomt.training.start import Learner
    from napari_eomt.training.supply import Kept, Supply

_SCALER_START = 2.0**12
"""GradScaler's own 2¹⁶ overflows for the first few steps, which are then lost."""


class Engine:
    """Takes steps.

    Parameters
    ----------
    learner : Learner
        Moved to the device.
    params : TrainParams
        Resolved, for the network too.
    device : torch.device
    precision : torch.dtype
    micro_batch : int
        Views in memory at a time, to begin with.

    Attributes
    ----------
    micro_batch : int
        As it is now.
    notes : list of str
        What the user should know; whoever shows one takes it out.
    kept : Kept or None
        What a frozen trunk has made.
    """

    def __init__(
        self,
        learner: Learner,
        params: TrainParams,
        device: torch.device,
        precision: torch.dtype,
        micro_batch: int,
    ) -> None:
        self.learner, self.params = learner, params
        self.device, self.precision = device, precision
        self.micro_batch = micro_batch
        self.notes: list[str] = []
        self.kept: Kept | None = None
        network = learner.network.to(device)
        self._wrapped: Any = network
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            ids = [device.index] if device.type == "cuda" else None
            # A batch without objects leaves parts of the network without a gradient.
            self._wrapped = DistributedDataParallel(
                network, device_ids=ids, find_unused_parameters=True
            )
        self.optimizer = make_optimizer(
            network.model,
            RateParams(
                learning_rate=float(params.learning_rate),
                layer_decay=float(params.layer_decay),
                has_full_rate_query_blocks=learner.card.architecture == "eomt_dinov3",
                weight_decay=params.weight_decay,
            ),
        )
        self.scaler = (
            torch.amp.GradScaler(device.type, init_scale=_SCALER_START)
            if precision == torch.float16
            else None
        )
        self.average = (
            RunningAverage(network.model, params.ema_decay) if params.ema_decay > 0 else None
        )
        self.n_steps = int(params.steps)
        self._schedule = LearningRateSchedule(
            self.n_steps, int(params.head_warm_up), int(params.backbone_warm_up)
        )
        is_annealed = params.masked_attention == "anneal"
        self._ramps = even_ramps(self.n_steps, network.n_blocks) if is_annealed else None
        self._loss = LossParams.from_config(learner.config, int(params.points))
        self._generator = torch.Generator(device)

    @property
    def learning_rate(self) -> float:
        """Of the heads, at the step taken last."""
        return float(self.optimizer.param_groups[-1]["lr"])

    @property
    def is_finite(self) -> bool:
        """Whether all weights are numbers."""
        tensors = self.learner.network.model.parameters()
        return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def step(self, step: int, samples: Sequence[Sample], supply: Supply) -> StepReport:
        """Take a step, from 0; see `train_step`.

        Raises
        ------
        ModelError
            If memory does not suffice for a single view.
        """
        network = self.learner.network
        if self._ramps is None:
            network.set_mask_probabilities((0.0,) * network.n_blocks)
        else:
            network.set_mask_probabilities(mask_probabilities(step, self._ramps))
        set_learning_rates(self.optimizer, self._schedule, step)
        devices = [self.device] if self.device.type == "cuda" else []
        while True:
            try:
                # The random numbers of whoever else is in this process stay theirs.
                with torch.random.fork_rng(devices=devices):
                    parts = supply.parts(
                        samples, step, self.micro_batch, network, self._generator, self.kept
                    )
                    report = train_step(
                        self._wrapped,
                        parts,
                        self.optimizer,
                        self._loss,
                        n_queries=network.n_queries,
                        precision=self.precision,
                        scaler=self.scaler,
                        clip_norm=self.params.clip_norm,
                        generator=self._generator,
                    )
                break
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                # Left alive, the traceback would hold on to the tensors that did not fit.
                error.__traceback__ = None
                self._shrink(len(samples), step)
        if self.average is not None and not report.is_skipped:
            self.average.update(network.model)
        return self._over_ranks(report)

    def state(self) -> dict[str, Any]:
        """Return what the optimiser has to be given to go on."""
        scaler = None if self.scaler is None else self.scaler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scaler": scaler}

    def restore(
        self,
        state: dict[str, Any],
        averaged: dict[str, torch.Tensor] | None,
        n_averaged: int,
    ) -> None:
        """Go on from what `state` has returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scaler is not None and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.average is not None and averaged is not None:
            self.average.restore(averaged, n_averaged)

    def _shrink(self, n_samples: int, step: int) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        at_once = min(self.micro_batch, n_samples)
        if self._wrapped is not self.learner.network:
            raise ModelError(
                f"Memory of {self.device} ran out with {at_once} views at a time. Resume with "
                f"fewer: --micro-batch {max(1, at_once // 2)}."
            )
        if at_once == 1:
            raise ModelError(
                f"{self.learner.card.name}: memory of {self.device} does not suffice to learn from "
                "a single view. Close other programs, choose --gradient-checkpointing true, a "
                "preset that learns less (quick), or a smaller model."
            )
        if step == 0:
            # It ran out while the optimiser made its first moments: half of them is no state.
            self.optimizer.state.clear()
        self.micro_batch = at_once // 2
        self.notes.append(
            f"Memory of {self.device} ran out: continued with {self.micro_batch} views at a time, "
            f"{self.params.batch_size} for each step as before."
        )

    def _over_ranks(self, report: StepReport) -> StepReport:
        if self._wrapped is self.learner.network:
            return report
        # The norm is of gradients that were averaged already.
        values = torch.tensor(
            [report.loss, report.mask, report.dice, report.classes], device=self.device
        )
        distributed.all_reduce(values)
        loss, mask, dice, classes = (values / distributed.get_world_size()).tolist()
        return replace(report, loss=loss, mask=mask, dice=dice, classes=classes)
