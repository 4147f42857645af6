#!/usr/bin/env bash
# How nuclei-nano was trained, from its first version on: about 75 minutes of one CPU core that has
# instructions for bfloat16.
#
#     scripts/train_bundled_model.sh DSB2018 START OUT
#
# DSB2018 holds train/ (COCO instances and images of BBBC038, CC0); START is the folder of the first
# version, which has one upscale block (in the repository's history); OUT is new.
#
# The first run was stopped (Ctrl-C) after 632 of its 3,000 steps, and what it had come to begins the
# second one.
set -euo pipefail
data=$1 start=$2 out=$3
export OMP_NUM_THREADS=1
common=(--preset full --val-fraction 0 --learning-rate 0.0008 --layer-decay 1 --ema-decay 0.995
        --masked-attention none --precision bf16 --loaders 1)
mkdir -p "$out"
python scripts/make_finer_masks.py "$start" "$out/start"
napari-eomt train "$data/train" --model "$out/start" --out "$out/first" "${common[@]}" \
    --steps 3000 --head-warm-up 50 --backbone-warm-up 100 || test $? -eq 130
napari-eomt train "$data/train" --model "$out/first/checkpoints/last" --out "$out/second" \
    "${common[@]}" --steps 2000 --head-warm-up 20 --backbone-warm-up 1 --micro-batch 4 --points 1024
python scripts/score_bundled_model.py "$data/val" --model "$out/second/checkpoints/last"
