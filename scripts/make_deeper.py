"""Give a model more blocks before its queries enter, which begin as doing nothing.

    python scripts/make_deeper.py START OUT --after 1 2

START and OUT are folders in transformers' layout. A new block follows each block that is named:
the last layer of its two branches is zero, so its output is its input until training makes
something of it (as in Bachlechner et al. 2020, "ReZero", and Gong et al. 2019).
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
    parser.add_argument("--after", type=int, nargs="+", required=True, help="numbers of blocks")
    args = parser.parse_args()
    torch.manual_seed(0)
    old = EomtForUniversalSegmentation.from_pretrained(args.start, local_files_only=True)
    n_trunk = old.config.num_hidden_layers - old.config.num_blocks
    if not set(args.after) <= set(range(n_trunk)):
        parser.error(f"--after: blocks before the queries are 0 to {n_trunk - 1}")
    n_layers = old.config.num_hidden_layers + len(args.after)
    config = EomtConfig.from_pretrained(args.start, num_hidden_layers=n_layers)
    new = EomtForUniversalSegmentation(config)
    state = {k: v for k, v in old.state_dict().items() if not k.startswith("layers.")}
    new.load_state_dict(state, strict=False)
    blocks = iter(new.layers)
    with torch.no_grad():
        for i, block in enumerate(old.layers):
            next(blocks).load_state_dict(block.state_dict())
            for _ in range(args.after.count(i)):
                added = next(blocks)
                for last in (added.attention.out_proj, added.mlp.fc2):
                    last.weight.zero_()
                    last.bias.zero_()
    new.save_pretrained(args.out)
    for name in ("preprocessor_config.json", "napari_eomt.json"):
        if (args.start / name).is_file():
            shutil.copy2(args.start / name, args.out)


if __name__ == "__main__":
    main()
