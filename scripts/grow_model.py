"""Make a model larger, so that at first it gives what it gave before; training makes it better.

    python scripts/grow_model.py START OUT --finer-masks
    python scripts/grow_model.py START OUT --after 1 2

START and OUT are folders in transformers' layout. With --finer-masks one upscale block more repeats
each pixel of the last one's features four times. With --after a new block follows each block that
is named, and knows queries if that does: the last layer of its two branches is zero, so its output
is its input (Zhang et al. 2019, "Fixup").
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import EomtConfig, EomtForUniversalSegmentation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--finer-masks", action="store_true")
    parser.add_argument("--after", type=int, nargs="+", default=[], help="numbers of blocks")
    args = parser.parse_args()
    torch.manual_seed(0)
    old = EomtForUniversalSegmentation.from_pretrained(args.start, local_files_only=True)
    n_layers, n_upscale = old.config.num_hidden_layers, old.config.num_upscale_blocks
    n_trunk = n_layers - old.config.num_blocks
    if not set(args.after) <= set(range(n_layers)):
        parser.error(f"--after: blocks are 0 to {n_layers - 1}")
    config = EomtConfig.from_pretrained(
        args.start,
        num_hidden_layers=n_layers + len(args.after),
        num_blocks=old.config.num_blocks + sum(block >= n_trunk for block in args.after),
        num_upscale_blocks=n_upscale + args.finer_masks,
    )
    new = EomtForUniversalSegmentation(config)
    unlike = ("layers.", "attn_mask_probs")
    state = {k: v for k, v in old.state_dict().items() if not k.startswith(unlike)}
    new.attn_mask_probs.copy_(old.attn_mask_probs[-1].expand_as(new.attn_mask_probs))
    new.load_state_dict(state, strict=False)
    with torch.no_grad():
        put_blocks(old, new, args.after)
        if args.finer_masks:
            repeat_pixels(new.upscale_block.block[n_upscale])
    new.save_pretrained(args.out)
    for name in ("preprocessor_config.json", "napari_eomt.json"):
        if (args.start / name).is_file():
            shutil.copy2(args.start / name, args.out)


def put_blocks(
    old: EomtForUniversalSegmentation, new: EomtForUniversalSegmentation, after: list[int]
) -> None:
    """Copy the old blocks to their places among the new ones, which begin as doing nothing."""
    blocks = iter(new.layers)
    for i, block in enumerate(old.layers):
        next(blocks).load_state_dict(block.state_dict())
        for _ in range(after.count(i)):
            added = next(blocks)
            for last in (added.attention.out_proj, added.mlp.fc2):
                last.weight.zero_()
                last.bias.zero_()


def repeat_pixels(layer: torch.nn.Module) -> None:
    """Let an upscale block begin as an enlargement."""
    width = layer.conv1.weight.shape[0]
    layer.conv1.weight.copy_(torch.eye(width)[:, :, None, None].expand(-1, -1, 2, 2))
    layer.conv1.bias.zero_()
    layer.conv2.weight.zero_()
    layer.conv2.weight[:, 0, 1, 1] = 1


if __name__ == "__main__":
    main()
