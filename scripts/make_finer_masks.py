"""Give a model masks twice as fine: one upscale block more, which begins as an enlargement.

    python scripts/make_finer_masks.py START OUT

START and OUT are folders in transformers' layout. The new block repeats each pixel of the last
one's features four times; training makes something of it.
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
    args = parser.parse_args()
    torch.manual_seed(0)
    old = EomtForUniversalSegmentation.from_pretrained(args.start, local_files_only=True)
    n_old = old.config.num_upscale_blocks
    config = EomtConfig.from_pretrained(args.start, num_upscale_blocks=n_old + 1)
    new = EomtForUniversalSegmentation(config)
    new.load_state_dict(old.state_dict(), strict=False)
    layer = new.upscale_block.block[n_old]
    width = config.hidden_size
    with torch.no_grad():
        layer.conv1.weight.copy_(torch.eye(width)[:, :, None, None].expand(-1, -1, 2, 2))
        layer.conv1.bias.zero_()
        layer.conv2.weight.zero_()
        layer.conv2.weight[:, 0, 1, 1] = 1
    new.save_pretrained(args.out)
    for name in ("preprocessor_config.json", "napari_eomt.json"):
        if (args.start / name).is_file():
            shutil.copy2(args.start / name, args.out)


if __name__ == "__main__":
    main()
