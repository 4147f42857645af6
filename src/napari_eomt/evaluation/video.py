"""How good tracks are: identity, switches, and the Cell Tracking Challenge's measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.evaluation.report_file import ReportFile
from napari_eomt.evaluation.video_clear import ClearCounter
from napari_eomt.evaluation.video_ctc import CtcCounter
from napari_eomt.evaluation.video_frames import iter_overlaps
from napari_eomt.evaluation.video_identity import HotaCounter, IdentityCounter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class TrackReport(ReportFile):
    """Figures of a video: scores from 0 to 1, None where there is nothing to tell, and counts.

    `idf1`, `idp`, `idr`: Ristani 2016. `mota` (which may be negative), `motp`, `switches`,
    `fragments`, `tp`, `fp`, `fn` and how many true tracks are mostly tracked: CLEAR MOT. `hota` and
    its parts: Luiten 2020. `tra`, `det`, `seg`, `lnk`, and the edits that `tra` weighs: the Cell
    Tracking Challenge.
    """

    called = "report of tracks"
    wanted = "one that evaluating tracks has written"

    format: Literal["napari-eomt track report"] = "napari-eomt track report"
    iou_threshold: float
    n_frames: int
    n_truth: int
    n_found: int
    n_truth_tracks: int
    n_found_tracks: int
    n_ignored_tracks: int = 0

    idf1: float | None
    idp: float | None
    idr: float | None

    mota: float | None
    motp: float | None
    switches: int
    fragments: int
    tp: int
    fp: int
    fn: int
    mostly_tracked: int
    partly_tracked: int
    mostly_lost: int

    hota: float | None
    det_a: float | None
    ass_a: float | None
    loc_a: float | None

    tra: float | None
    det: float | None
    seg: float | None
    lnk: float | None
    edits: dict[str, int]


def evaluate_tracks(
    truth: Any,
    pred: Any,
    *,
    iou_threshold: float = 0.5,
    truth_parents: Mapping[int, int] | None = None,
    pred_parents: Mapping[int, int] | None = None,
    ignored: Collection[int] = frozenset(),
) -> TrackReport:
    """Compare found tracks with true ones, frame by frame.

    Parameters
    ----------
    truth, pred : (T, Y, X) int array-like, or iterable of (Y, X) int or of Segmentation
        Track ids; 0 is void.
    iou_threshold : float
        From this IoU on an object is found, for IDF1 and CLEAR MOT; above 0, 1 at most.
    truth_parents, pred_parents : dict of int to int, optional
        The track that each child of a division comes from.
    ignored : collection of int
        True tracks that are not counted, nor what is found where they are.

    Raises
    ------
    DataError
        If the frames do not go together, or are no track ids.
    """
    if not 0 < iou_threshold <= 1:
        raise ValueError(f"The IoU threshold is {iou_threshold}; it is above 0, and 1 at most.")
    identity, clear = IdentityCounter(iou_threshold), ClearCounter(iou_threshold)
    hota, ctc = HotaCounter(), CtcCounter(truth_parents or {}, pred_parents or {})
    n_frames = n_truth = n_found = 0
    truth_tracks: set[int] = set()
    found_tracks: set[int] = set()
    for frame in iter_overlaps(truth, pred, frozenset(ignored)):
        for counter in (identity, clear, hota, ctc):
            counter.add(frame)
        n_frames += 1
        n_truth += len(frame.truth_ids)
        n_found += len(frame.pred_ids)
        truth_tracks.update(frame.truth_ids.tolist())
        found_tracks.update(frame.pred_ids.tolist())
    ids, mot, higher, cells = identity.quality(), clear.quality(), hota.quality(), ctc.quality()
    return TrackReport(
        iou_threshold=iou_threshold,
        n_frames=n_frames,
        n_truth=n_truth,
        n_found=n_found,
        n_truth_tracks=len(truth_tracks),
        n_found_tracks=len(found_tracks),
        n_ignored_tracks=len(frozenset(ignored)),
        idf1=ids.idf1,
        idp=ids.idp,
        idr=ids.idr,
        mota=mot.mota,
        motp=mot.motp,
        switches=mot.switches,
        fragments=mot.fragments,
        tp=mot.tp,
        fp=mot.fp,
        fn=mot.fn,
        mostly_tracked=mot.mostly_tracked,
        partly_tracked=mot.partly_tracked,
        mostly_lost=mot.mostly_lost,
        hota=higher and higher.hota,
        det_a=higher and higher.det_a,
        ass_a=higher and higher.ass_a,
        loc_a=higher and higher.loc_a,
        tra=cells.tra,
        det=cells.det,
        seg=cells.seg,
        lnk=cells.lnk,
        edits={
            "splits": cells.splits,
            "misses": cells.misses,
            "extras": cells.extras,
            "extra_edges": cells.extra_edges,
            "missing_edges": cells.missing_edges,
            "wrong_edges": cells.wrong_edges,
        },
    )
