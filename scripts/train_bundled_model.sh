#!/usr/bin/env bash
# How nuclei-nano was trained, from its first version on: about five and a half hours of one CPU
# core that has instructions for bfloat16.
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
common=(--preset full --val-fraction 0 --layer-decay 1 --masked-attention none --precision bf16
        --loaders 1)
short=(--head-warm-up 20 --backbone-warm-up 1 --micro-batch 4 --points 1024)
mkdir -p "$out"
python scripts/grow_model.py "$start" "$out/start" --finer-masks
napari-eomt train "$data/train" --model "$out/start" --out "$out/first" "${common[@]}" \
    --learning-rate 0.0008 --ema-decay 0.995 --steps 3000 \
    --head-warm-up 50 --backbone-warm-up 100 || test $? -eq 130
napari-eomt train "$data/train" --model "$out/first/checkpoints/last" --out "$out/second" \
    "${common[@]}" "${short[@]}" --learning-rate 0.0008 --ema-decay 0.995 --steps 2000
napari-eomt train "$data/train" --model "$out/second/checkpoints/last" --out "$out/third" \
    "${common[@]}" "${short[@]}" --learning-rate 0.0008 --ema-decay 0.998 --steps 3400
napari-eomt train "$data/train" --model "$out/third/checkpoints/last" --out "$out/fourth" \
    "${common[@]}" "${short[@]}" --learning-rate 0.0004 --ema-decay 0.998 --steps 1800
python scripts/grow_model.py "$out/fourth/checkpoints/last" "$out/larger" --after 1 2
napari-eomt train "$data/train" --model "$out/larger" --out "$out/fifth" \
    "${common[@]}" "${short[@]}" --learning-rate 0.0006 --ema-decay 0.998 --steps 3600
python scripts/score_bundled_model.py "$data/val" --model "$out/fifth/checkpoints/last"
