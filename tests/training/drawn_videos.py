"""Small drawn videos in files, and tiny models of videos, to train on in seconds."""

from __future__ import annotations

import json

import numpy as np
import tifffile
from PIL import Image
from tests.tiny_models import save_tiny

from napari_eomt.structures.rle import encode
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.params import TrainParams
from napari_eomt.training.setup import set_up
from napari_eomt.training.train import begin_run


def save_videos(folder, n_videos=3, n_frames=6, shape=(64, 64), n_objects=2):
    """Save drawn videos as YouTube-VIS has them, and return the folder."""
    return write_videos(
        folder, [drawn_tracks(n_frames, shape, n_objects, seed=k) for k in range(n_videos)]
    )


def write_videos(folder, videos):
    """Write videos as YouTube-VIS has them: frames, and annotations beside; return the folder.

    Parameters
    ----------
    folder : Path
    videos : sequence of DrawnVideo
        Their objects have the ids from 1, all of one category.
    """
    records, annotations = [], []
    for k, video in enumerate(videos):
        n_frames, height, width = video.ids.shape
        names = [f"video{k}/{t:03d}.png" for t in range(n_frames)]
        (folder / f"video{k}").mkdir(parents=True, exist_ok=True)
        for name, frame in zip(names, video.frames, strict=True):
            Image.fromarray(frame).save(folder / name)
        records.append(
            {
                "id": k + 1,
                "height": height,
                "width": width,
                "length": n_frames,
                "file_names": names,
            }
        )
        for i in range(1, int(video.ids.max()) + 1):
            found = [encode(ids, [i])[i] if (ids == i).any() else None for ids in video.ids]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": k + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "segmentations": [rle and rle.as_coco() for rle in found],
                }
            )
    content = {
        "videos": records,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def save_ctc(folder, n_videos=2, n_frames=5, shape=(64, 64)):
    """Save drawn videos as the Cell Tracking Challenge has them, and return the folder."""
    for k in range(n_videos):
        video = drawn_tracks(n_frames, shape, 2, absent=0, seed=k)
        images, tracks = folder / f"{k + 1:02d}", folder / f"{k + 1:02d}_GT" / "TRA"
        images.mkdir(parents=True)
        tracks.mkdir(parents=True)
        lines, ids = [], np.where(video.ids == 2, 2, 1).astype(np.uint16) * (video.ids > 0)
        for t in range(n_frames):
            tifffile.imwrite(images / f"t{t:03d}.tif", video.frames[t].mean(-1).astype(np.uint8))
            tifffile.imwrite(tracks / f"man_track{t:03d}.tif", ids[t])
        for i in (1, 2):
            there = np.flatnonzero((ids == i).any((1, 2)))
            assert len(there) == there[-1] - there[0] + 1, "choose a seed that hides nothing"
            lines.append(f"{i} {there[0]} {there[-1]} 0")
        (tracks / "man_track.txt").write_text("\n".join(lines) + "\n")
    return folder


def save_model(folder, architecture="videomt"):
    """Save a tiny model that looks at whole frames."""
    return save_tiny(folder, architecture, 1, tasks=["instance"])


def params(**changes):
    """Return parameters of a short training."""
    options = {"steps": 4, "batch_size": 2, "clip_length": 3, "validation_interval": 100}
    return TrainParams(**(options | changes))


def begin(tmp_path, dataset, model, name="run", **changes):
    """Begin a run; return its setup and its folder."""
    setup = set_up(dataset, params(**changes), model, device="cpu")
    return setup, begin_run(tmp_path / name, setup)
