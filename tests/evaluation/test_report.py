import json

import pytest
from tests.evaluation.drawn_dataset import coco, maps, write_dataset

from napari_eomt.errors import DataError, OutputError
from napari_eomt.evaluation.evaluate import evaluate
from napari_eomt.evaluation.report import Report
from napari_eomt.evaluation.tables import comparison_table, report_table

TRUE, PREDICTED = maps()


@pytest.fixture
def reports(tmp_path):
    """Return the reports of a prediction with mistakes, and of the truth."""
    dataset = write_dataset(tmp_path / "set", TRUE)
    for name, id_maps in (("some", PREDICTED), ("all", TRUE)):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(id_maps, scores=True)))
    return tuple(evaluate(dataset, tmp_path / f"{name}.json") for name in ("some", "all"))


def test_a_report_is_written_and_read_again(reports, tmp_path):
    path = tmp_path / "new" / "report.json"
    reports[0].save(path)
    assert Report.load(path) == reports[0]
    raw = json.loads(path.read_text())
    assert (raw["format"], raw["total"]["n_images"]) == ("napari-eomt report", 4)
    with pytest.raises(OutputError, match="cannot be written"):
        reports[0].save(path / "below")
    for content, message in (
        ("[]", "no report"),
        ('{"format": "napari-eomt report", "version": "9"}', "dataset.*version"),
    ):
        path.write_text(content)
        with pytest.raises(DataError, match=message):
            Report.load(path)


def test_a_table_shows_what_the_report_says(reports):
    report = reports[0]
    text = report_table(report)
    rows = {line.split("  ")[0].strip(): line.split() for line in text.splitlines()}
    assert set(rows) >= {"all", "dark", "bright", "cell", "debris"}
    assert f"{report.total.ap50:.3f}" in rows["all"]
    assert f"{report.by_category[0].pq:.3f}" in rows["cell"]
    assert "AP75" in text
    assert f"{report.total.n_edits} edits" in text
    assert "PQ stuff" not in text  # there is none


def test_a_comparison_shows_the_difference(reports):
    before, after = reports
    text = comparison_table(before, after)
    total = next(line for line in text.splitlines() if line.startswith("all"))
    assert f"{before.total.ap:.3f} → 1.000 ({1 - before.total.ap:+.3f})" in total
    n_better = sum(image.ap < 1 for image in before.images)
    assert f"{n_better} images are better, 0 worse, {4 - n_better} as before" in text
    assert "0 images are better, 0 worse, 4 as before" in comparison_table(after, after)


def test_reports_of_other_images_are_not_compared(reports):
    before, after = reports
    fewer = after.model_copy(update={"images": after.images[1:]})
    with pytest.raises(DataError, match=r"1 images are in one of them alone, such as im1\.png"):
        comparison_table(before, fewer)
    other = after.model_copy(update={"task": "semantic"})
    with pytest.raises(DataError, match="one is instance, the other semantic"):
        comparison_table(before, other)
