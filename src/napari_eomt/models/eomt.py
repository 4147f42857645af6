"""EoMT and EoMT-DINOv3 behind the one face, on transformers' own modules."""

from __future__ import annotations

import math
import os
import tempfile
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from transformers import (
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtForUniversalSegmentation,
)

from napari_eomt.models.fused_attention import fuse_attention
from napari_eomt.models.input_size import check_input_size
from napari_eomt.models.segmenter import QueryOutput, Segmenter, is_out_of_memory
from napari_eomt.models.trunk_fingerprint import run_as, trunk_fingerprint, trunk_parts
from napari_eomt.settings import cache_dir

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.models.card import ModelCard

EomtModel = (
    EomtForUniversalSegmentation
    | EomtDinov3ForUniversalSegmentation
    | VideomtForUniversalSegmentation
)

_T = TypeVar("_T")

_COMPILED_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


class EomtSegmenter(Segmenter):
    """EoMT with a DINOv2 or a DINOv3 backbone, for inference.

    The forward pass is transformers', less its masked attention: at inference the published
    models have annealed it away, and without it no block needs the masks of the one before
    (1.5 to 2 times faster on a CPU). It is in two steps, because the first, `trunk`, knows no
    queries and so can be kept for an image while the queries change.

    A VidEoMT runs here as well, each frame as the first of a video; `VideomtSegmenter` goes on.

    References
    ----------
    Kerssies et al., "Your ViT is Secretly an Image Segmentation Model", CVPR 2025;
    https://github.com/tue-mps/eomt.
    """

    def __init__(
        self, card: ModelCard, model: EomtModel, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(card, device, dtype)
        self.model = model.requires_grad_(False)
        model.train(False)
        # transformers' forward looks at these: a stored probability above 0 would bring masked
        # attention back for whoever calls the module itself.
        model.attn_mask_probs.zero_()
        fuse_attention(model)
        self._first_query_block = model.config.num_hidden_layers - model.config.num_blocks
        self._fingerprint: str | None = None
        self._trained_card = card
        self._compiled: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None
        self._warm: set[tuple[int, int]] = set()
        self._backend: str | Callable[..., Any] = "inductor"
        # Resampled from this table each time, so that sizes can change without loss; float32,
        # because half precision would be rounded twice.
        self._positions = (
            torch.empty(0)
            if isinstance(model, EomtDinov3ForUniversalSegmentation)
            else model.embeddings.position_embeddings.weight.detach().float().clone()
        )
        self._rope: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self.to(device, dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the model to another device or precision, in place."""
        torch.nn.Module.to(self.model, device=device, dtype=dtype)
        self.device, self.dtype = device, dtype
        self._set_positions()

    def set_input_size(self, size: int | None) -> None:
        """Run at another input size from now on; see `Segmenter.set_input_size`.

        DINOv2's learned positions are resampled (bicubic, antialiased), as timm does for the
        original repository; DINOv3's rotary positions are computed for any size.
        """
        card = self._trained_card
        size = card.input_size if size is None else size
        check_input_size(card, size)
        if size == self.card.input_size:
            return
        if size == card.input_size:
            self.card = card
        else:
            # Where the size of the objects is known, tiles still must overlap by an object.
            overlap = min(card.tile_overlap, size // 2) if card.object_size else size // 4
            self.card = card.model_copy(update={"input_size": size, "tile_overlap": overlap})
        self._set_positions()
        if self._compiled is not None:
            self.compile(self._backend)

    def compile(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Compile the forward pass, in one graph, when it is first run with a number of views.

        Where that fails (no compiler, a device without support), the model goes on without, and
        `notes` says so.

        Parameters
        ----------
        backend : str or callable
            Of torch.compile.
        """
        # By default, which torch writes into the environment when it is imported, compiled code
        # lies among the temporary files and is gone with them: 40 s instead of 5 at the next start.
        chosen = os.environ.get(_COMPILED_VARIABLE, "")
        if not chosen or chosen.startswith(tempfile.gettempdir()):
            os.environ[_COMPILED_VARIABLE] = str(cache_dir() / "compiled")
        # Of another size, or another model, torch would try to make one graph for both.
        torch.compiler.reset()
        self._warm.clear()
        self._backend = backend
        self._compiled = torch.compile(self._run, fullgraph=True, backend=backend)

    def warm_up(self, n_views: int) -> None:
        """Compile for this many views, at the present input size; see `Segmenter.warm_up`."""
        size = self.card.input_size
        if self._compiled is not None and (n_views, size) not in self._warm:
            self.forward(torch.zeros(n_views, 3, size, size))
            self._warm.add((n_views, size))

    @property
    def is_compiled(self) -> bool:
        """Whether the forward pass is, or at its next run will be, a compiled one."""
        return self._compiled is not None

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> QueryOutput:
        """Run the model; see `Segmenter.forward`."""
        pixels = self._checked(pixels)
        if self._compiled is None:
            class_logits, mask_logits = self._run(pixels)
        else:
            class_logits, mask_logits = self._run_compiled(self._compiled, self._run, pixels)
        return QueryOutput(class_logits.float(), mask_logits.float())

    def _checked(self, pixels: torch.Tensor) -> torch.Tensor:
        """Bring pixels to the model's device and precision, if they are of its shape."""
        size = self.card.input_size
        # transformers accepts another shape of as many patches and scrambles the mask grid.
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, size, size):
            raise ValueError(
                f"The model takes (B, 3, {size}, {size}) pixels; these are {tuple(pixels.shape)}."
            )
        return pixels.to(device=self.device, dtype=self.dtype)

    @property
    def trunk_fingerprint(self) -> str | None:
        """The name of the trunk; see `Segmenter.trunk_fingerprint`.

        None where all blocks see queries, and for a compiled model, which runs as a whole.
        """
        if self._first_query_block <= 0 or self._compiled is not None:
            return None
        if self._fingerprint is None:
            # 1.6 GB/s: 0.04 s of ViT-S, once.
            size = self.card.input_size
            self._fingerprint = trunk_fingerprint(
                self.model,
                (size, size),
                run_as(self.device, self.dtype),
                (self.card.image_mean, self.card.image_std),
            )
        return self._fingerprint

    @torch.inference_mode()
    def trunk(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the blocks that see no queries.

        Parameters
        ----------
        pixels : (B, 3, S, S) float

        Returns
        -------
        (B, P + G², C)
            P prefix tokens (CLS and registers), then G² patches, row by row.
        """
        return self._trunk(pixels.to(device=self.device, dtype=self.dtype))

    @torch.inference_mode()
    def decode(self, tokens: torch.Tensor) -> QueryOutput:
        """Let the queries join the tokens of `trunk`, and read classes and masks from them."""
        class_logits, mask_logits = self._decode(tokens)
        return QueryOutput(class_logits.float(), mask_logits.float())

    def _trunk(self, pixels: torch.Tensor) -> torch.Tensor:
        embed, *blocks = trunk_parts(self.model)
        tokens: torch.Tensor = embed(pixels)
        for block in blocks:
            tokens = block(tokens, **self._rope)
        return tokens

    def _decode(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        query = self.model.query.weight[None].expand(tokens.shape[0], -1, -1)
        class_logits, mask_logits, _ = self._query_blocks(query, tokens)
        return class_logits, mask_logits

    def _query_blocks(
        self, query: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return class logits, mask logits, and all tokens after the last block, not normalised."""
        tokens = torch.cat((query, tokens), dim=1)
        for block in self.model.layers[self._first_query_block :]:
            tokens = block(tokens, **self._rope)
        mask_logits, class_logits = self.model.predict(self.model.layernorm(tokens))
        return class_logits, mask_logits, tokens

    def _run(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._decode(self._trunk(pixels))

    def _run_compiled(
        self, compiled: Callable[..., _T], plain: Callable[..., _T], *inputs: torch.Tensor
    ) -> _T:
        """Run a compiled function of batches; where compiling it fails, the plain one."""
        if inputs[0].shape[0] > 1:
            # One graph for all numbers of views; a single view has its own.
            for batch in inputs:
                torch._dynamo.mark_dynamic(batch, 0)
        try:
            return compiled(*inputs)
        except Exception as error:
            # Compilers fail in as many ways as there are machines; the model itself is sound.
            if is_out_of_memory(error):
                raise
            self._compiled = None
            inner = getattr(error, "inner_exception", error)  # dynamo's own speaks of itself
            reason = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
            self.notes.append(f"Compiling the model failed ({reason:.120}): continued without.")
            return plain(*inputs)

    @torch.no_grad()
    def _set_positions(self) -> None:
        """Give the tokens of the present input size, device and precision their positions."""
        self._fingerprint = None
        size = self.card.input_size
        grid = size // self.card.patch_size
        self.model.grid_size = (grid, grid)
        if isinstance(self.model, EomtDinov3ForUniversalSegmentation):
            # The module reads only the shape and the dtype of the pixels.
            pixels = torch.empty(1, 3, size, size, device=self.device, dtype=self.dtype)
            self._rope = {"position_embeddings": self.model.rope_embeddings(pixels)}
            return
        table = self._positions
        trained = math.isqrt(len(table))
        if grid != trained:
            square = table.reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
            square = torch.nn.functional.interpolate(
                square, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False
            )
            table = square.permute(0, 2, 3, 1).flatten(0, 2)
        embeddings = self.model.embeddings
        embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            table.to(device=self.device, dtype=self.dtype, copy=True)
        )
        ids = torch.arange(grid * grid, device=self.device)[None]
        embeddings.position_ids = torch.nn.Buffer(ids, persistent=False)
