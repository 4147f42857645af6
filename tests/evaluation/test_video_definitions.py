"""Each measure against its definition, written out for whole stacks and dense tables."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from tests.evaluation.drawn_tracks import spoilt_tracks

from napari_eomt.evaluation.video import evaluate_tracks

SEEDS = range(8)


def ids_of(labels):
    return [int(i) for i in np.unique(labels) if i]


def similarity(truth, pred):
    """IoU of all true with all found objects of a frame."""
    rows = [[(truth == i), (pred == j)] for i in ids_of(truth) for j in ids_of(pred)]
    values = [(a & b).sum() / (a | b).sum() for a, b in rows]
    return np.array(values).reshape(len(ids_of(truth)), len(ids_of(pred)))


@pytest.mark.parametrize("seed", SEEDS)
def test_idf1_is_the_best_of_all_assignments_of_tracks(seed):
    truth, pred, *_ = spoilt_tracks(seed)
    true_ids, found_ids = ids_of(truth), ids_of(pred)
    agree = np.zeros((len(true_ids), len(found_ids)), int)
    for one, other in zip(truth, pred, strict=True):
        good = similarity(one, other) >= 0.5
        for a, b in np.argwhere(good):
            agree[true_ids.index(ids_of(one)[a]), found_ids.index(ids_of(other)[b])] += 1
    n_truth = sum(len(ids_of(one)) for one in truth)
    n_pred = sum(len(ids_of(one)) for one in pred)
    columns = [*range(len(found_ids)), *[None] * len(true_ids)]
    # One true track after the other, each with any found one that is free, or none.
    best = {frozenset(): 0}
    for row in agree:
        after = {}
        for used, value in best.items():
            for c in {*columns} - used:
                now = used if c is None else used | {c}
                gain = value + (0 if c is None else row[c])
                after[now] = max(after.get(now, 0), gain)
        best = after
    tp = max(best.values())
    report = evaluate_tracks(truth, pred)
    assert report.idf1 == pytest.approx(2 * tp / (n_truth + n_pred))
    assert report.idp == pytest.approx(tp / n_pred)
    assert report.idr == pytest.approx(tp / n_truth)


@pytest.mark.parametrize("seed", SEEDS)
def test_clear_mot_follows_trackeval(seed):
    truth, pred, *_ = spoilt_tracks(seed)
    last, before, starts = {}, {}, {}
    tp = fp = fn = switches = 0
    total = 0.0
    n_frames, n_matched = {}, {}
    for one, other in zip(truth, pred, strict=True):
        rows, columns = ids_of(one), ids_of(other)
        for i in rows:
            n_frames[i] = n_frames.get(i, 0) + 1
        if not rows or not columns:
            fp, fn = fp + len(columns), fn + len(rows)
            continue
        iou = similarity(one, other)
        held = np.array([[before.get(i) == j for j in columns] for i in rows])
        score = np.where(iou >= 0.5, iou + 1000 * held, 0)
        pairs = [(a, b) for a, b in zip(*linear_sum_assignment(-score), strict=True) if score[a, b]]
        now = {rows[a]: columns[b] for a, b in pairs}
        for i, j in now.items():
            switches += i in last and last[i] != j
            starts[i] = starts.get(i, 0) + (i not in before)
            n_matched[i] = n_matched.get(i, 0) + 1
        last.update(now)
        before = now
        total += sum(iou[a, b] for a, b in pairs)
        tp, fp, fn = tp + len(now), fp + len(columns) - len(now), fn + len(rows) - len(now)
    report = evaluate_tracks(truth, pred)
    assert (report.tp, report.fp, report.fn, report.switches) == (tp, fp, fn, switches)
    assert switches > 0
    assert report.fragments == sum(n - 1 for n in starts.values())
    assert report.mota == pytest.approx(1 - (fp + fn + switches) / (tp + fn))
    assert report.motp == pytest.approx(total / tp)
    shares = [n_matched.get(i, 0) / n for i, n in n_frames.items()]
    kinds = [sum(s > 0.8 for s in shares), sum(0.2 <= s <= 0.8 for s in shares)]
    assert [report.mostly_tracked, report.partly_tracked] == kinds
    assert report.mostly_lost == len(shares) - sum(kinds)


@pytest.mark.parametrize("seed", SEEDS)
def test_hota_follows_trackeval(seed):
    truth, pred, *_ = spoilt_tracks(seed)
    true_ids, found_ids = ids_of(truth), ids_of(pred)
    shape = len(true_ids), len(found_ids)
    potential = np.zeros(shape)
    n_true, n_found = np.zeros((shape[0], 1)), np.zeros((1, shape[1]))
    frames = []
    for one, other in zip(truth, pred, strict=True):
        rows = [true_ids.index(i) for i in ids_of(one)]
        columns = [found_ids.index(j) for j in ids_of(other)]
        iou = similarity(one, other)
        whole = iou.sum(0)[None] + iou.sum(1)[:, None] - iou
        potential[np.ix_(rows, columns)] += np.divide(iou, whole, where=whole > 0, out=iou * 0)
        n_true[rows] += 1
        n_found[0, columns] += 1
        frames.append((rows, columns, iou))
    alignment = potential / (n_true + n_found - potential)
    hota, det, ass, loc = [], [], [], []
    for alpha in np.arange(1, 20) * 0.05:
        matches, tp, total = np.zeros(shape), 0, 0.0
        for rows, columns, iou in frames:
            score = alignment[np.ix_(rows, columns)] * iou
            for a, b in zip(*linear_sum_assignment(-score), strict=True):
                if iou[a, b] >= alpha - 1e-12:
                    tp, total = tp + 1, total + iou[a, b]
                    matches[rows[a], columns[b]] += 1
        det.append(tp / (n_true.sum() + n_found.sum() - tp))
        ass.append((matches * matches / np.maximum(1, n_true + n_found - matches)).sum() / tp)
        hota.append(np.sqrt(det[-1] * ass[-1]))
        loc.append(total / tp)
    report = evaluate_tracks(truth, pred)
    assert report.hota == pytest.approx(np.mean(hota))
    assert report.det_a == pytest.approx(np.mean(det))
    assert report.ass_a == pytest.approx(np.mean(ass))
    assert report.loc_a == pytest.approx(np.mean(loc))


def graph(labels, parents):
    """Vertices (t, id), and edges with their meaning."""
    vertices = [(t, i) for t, one in enumerate(labels) for i in ids_of(one)]
    frames = {}
    for t, i in vertices:
        frames.setdefault(i, []).append(t)
    edges = {}
    for i, times in frames.items():
        for t, u in itertools.pairwise(times):
            edges[(t, i), (u, i)] = "track" if u == t + 1 else "link"
        parent = parents.get(i)
        before = [t for t in frames.get(parent, []) if t < times[0]]
        if before:
            edges[(before[-1], parent), (times[0], i)] = "link"
    return vertices, edges


@pytest.mark.parametrize("seed", SEEDS)
def test_the_challenges_measures_are_edits_of_graphs(seed):
    truth, pred, true_parents, found_parents = spoilt_tracks(seed)
    vertices, edges = graph(truth, true_parents)
    found_vertices, found_edges = graph(pred, found_parents)
    covered, jaccard = {}, []
    for t, i in vertices:
        mask = truth[t] == i
        jaccard.append(0.0)
        for j in ids_of(pred[t]):
            other = pred[t] == j
            if (mask & other).sum() > 0.5 * mask.sum():
                covered[t, i] = t, j
                jaccard[-1] = (mask & other).sum() / (mask | other).sum()
    n_on = {v: list(covered.values()).count(v) for v in found_vertices}
    splits = sum(max(0, n - 1) for n in n_on.values())
    misses = len(vertices) - len(covered)
    extras = sum(n == 0 for n in n_on.values())
    same = {v: w for v, w in covered.items() if n_on[w] == 1}
    back = {w: v for v, w in same.items()}
    missing = wrong = extra = 0
    for (v, w), meaning in edges.items():
        found = found_edges.get((same.get(v), same.get(w)))
        missing += found is None
        wrong += found is not None and found != meaning
    for v, w in found_edges:
        extra += v in back and w in back and (back[v], back[w]) not in edges
    report = evaluate_tracks(truth, pred, truth_parents=true_parents, pred_parents=found_parents)
    assert report.edits == {
        "splits": splits,
        "misses": misses,
        "extras": extras,
        "extra_edges": extra,
        "missing_edges": missing,
        "wrong_edges": wrong,
    }
    assert missing > 0
    assert extra > 0
    d = 5 * splits + 10 * misses + extras
    a = extra + 1.5 * missing + wrong
    n, m = len(vertices), len(edges)
    assert report.seg == pytest.approx(np.mean(jaccard))
    assert report.det == pytest.approx(1 - min(d, 10 * n) / (10 * n))
    assert report.tra == pytest.approx(1 - min(d + a, 10 * n + 1.5 * m) / (10 * n + 1.5 * m))
    assert report.lnk == pytest.approx(1 - min(a, 1.5 * m) / (1.5 * m))
