from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from tests.tiny_models import save_tiny
from transformers import (
    EomtConfig,
    EomtDinov3Config,
    EomtDinov3ForUniversalSegmentation,
    EomtForUniversalSegmentation,
    VideomtConfig,
    VideomtForUniversalSegmentation,
)

from napari_eomt.errors import ModelError
from napari_eomt.models import store
from napari_eomt.models.card import read_card
from napari_eomt.models.catalog import (
    bundled_models,
    bundled_names,
    catalog,
    category_list,
    category_lists,
    describe,
    entry_card,
    find_entry,
    find_model,
)
from napari_eomt.models.catalog_entry import CatalogEntry
from napari_eomt.models.user_models import add_user_model
from napari_eomt.structures.categories import stuff_labels

ENTRIES = list(catalog().values())
LARGE = "eomt-large-coco-panoptic-640"

# heads, blocks that see queries, as the makers' configurations say
SHAPES = {"ViT-S": (6, 3), "ViT-B": (12, 3), "ViT-L": (16, 4), "ViT-g": (24, 5)}


def build(entry: CatalogEntry) -> torch.nn.Module:
    """Build transformers' module for a row's facts, without memory for its weights."""
    n_heads, n_blocks = SHAPES[entry.backbone.split()[1]]
    common = {
        "hidden_size": entry.width,
        "num_hidden_layers": entry.depth,
        "num_attention_heads": n_heads,
        "num_blocks": n_blocks,
        "image_size": entry.input_size,
        "patch_size": entry.patch_size,
        "num_queries": entry.n_queries,
        "num_labels": len(category_list(entry.categories)),
    }
    dinov2 = {"use_swiglu_ffn": entry.backbone.endswith("ViT-g")}
    with torch.device("meta"):
        if entry.architecture == "eomt_dinov3":
            return EomtDinov3ForUniversalSegmentation(
                EomtDinov3Config(**common, intermediate_size=4 * entry.width, num_register_tokens=4)
            )
        if entry.architecture == "videomt":
            return VideomtForUniversalSegmentation(VideomtConfig(**common, **dinov2))
        return EomtForUniversalSegmentation(EomtConfig(**common, **dinov2))


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_facts_are_those_of_the_network(entry):
    model = build(entry)
    assert sum(p.numel() for p in model.parameters()) == entry.n_parameters
    assert model.class_predictor.out_features == len(category_list(entry.categories)) + 1
    assert model.query.num_embeddings == entry.n_queries
    assert model.config.model_type == entry.architecture


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_facts_agree_with_each_other(entry):
    kinds = {category.is_thing for category in category_list(entry.categories)}
    thresholds = entry.thresholds
    if entry.tasks[0] == "panoptic":
        assert kinds == {True, False}
        assert set(entry.tasks) == {"panoptic", "instance", "semantic"}
        assert None not in (thresholds.score_threshold, thresholds.overlap_threshold)
    elif entry.tasks[0] == "instance":
        assert kinds == {True}
        assert entry.tasks == ("instance",)
        assert thresholds.score_threshold is not None
    else:
        assert entry.tasks == ("semantic",)
        assert thresholds.score_threshold is None
    # Float32: 4 bytes each, and a base of nearly as many.
    bytes_each = entry.n_bytes / entry.n_parameters
    assert 7 < bytes_each < 8 if entry.format == "delta" else bytes_each == 4
    assert entry.gated == (entry.format == "delta")
    assert ("DINOv3" in entry.licence) == (entry.architecture == "eomt_dinov3")
    if not entry.is_video:
        assert str(entry.input_size) in entry.name
        assert str(entry.input_size) in entry.hub_id
    assert entry.title.startswith(
        {"eomt": "EoMT-", "eomt_dinov3": "EoMT-DINOv3-", "videomt": "VidEoMT-"}[entry.architecture]
        + entry.backbone[-1]
    )


def test_every_published_model_is_there_once():
    main = [entry for entry in ENTRIES if entry.alternative_to is None]
    assert Counter(entry.architecture for entry in main) == {
        "eomt": 14,
        "eomt_dinov3": 7,
        "videomt": 8,
    }
    assert {entry.format for entry in main} == {"transformers"}
    assert len({entry.hub_id for entry in main}) == len(main)
    assert len({(entry.hub_id, entry.files) for entry in ENTRIES}) == len(ENTRIES)
    assert not set(catalog()) & set(bundled_names())
    assert Counter(entry.format for entry in ENTRIES) == {
        "transformers": 29,
        "delta": 7,
        "original": 8,
    }


@pytest.mark.parametrize("entry", [e for e in ENTRIES if e.alternative_to], ids=lambda e: e.name)
def test_alternatives_are_the_same_model_from_another_place(entry):
    same = catalog()[entry.alternative_to]
    place = {"name", "hub_id", "format", "files", "base", "gated", "n_bytes", "alternative_to"}
    assert entry.model_dump(exclude=place) == same.model_dump(exclude=place)
    assert same.alternative_to is None
    if entry.base:
        letter = entry.backbone[-1].lower()
        assert entry.base == f"facebook/dinov3-vit{letter}16-pretrain-lvd1689m"


@pytest.mark.parametrize(
    ("name", "hub_id", "score", "images_per_second"),
    [
        ("eomt-small-coco-panoptic-640", "coco_panoptic_eomt_small_640_2x", 46.7, 330),
        ("eomt-giant-coco-panoptic-1280", "coco_panoptic_eomt_giant_1280", 59.2, 12),
        ("eomt-large-ade20k-panoptic-640", "ade20k_panoptic_eomt_large_640", 50.6, 128),
        ("eomt-large-cityscapes-semantic-1024", "cityscapes_semantic_eomt_large_1024", 84.2, 25),
        ("eomt-large-coco-instance-1280", "coco_instance_eomt_large_1280", 48.8, 30),
        (
            "eomt-dinov3-base-coco-panoptic-640",
            "eomt-dinov3-coco-panoptic-base-640",
            53.1,
            240,
        ),
        (
            "eomt-dinov3-large-ade20k-semantic-512",
            "eomt-dinov3-ade-semantic-large-512",
            59.5,
            137,
        ),
        ("videomt-large-ytvis2019", "videomt-dinov2-large-ytvis2019", 68.6, 160),
        ("videomt-large-vspw", "videomt-dinov2-large-vspw", 95.0, 73),
    ],
)
def test_scores_and_speeds_are_the_makers(name, hub_id, score, images_per_second):
    entry = catalog()[name]
    assert entry.hub_id == f"tue-mps/{hub_id}"
    assert entry.score.value == score
    assert entry.speed.images_per_second == images_per_second
    assert "H100" in entry.speed.hardware


def test_second_scores_are_told():
    assert "mVC16 95.0, mIoU 64.9" in describe(catalog()["videomt-large-vspw"])
    assert "VPQ 55.2, STQ 48.9" in describe(catalog()["videomt-large-vipseg"])


# name: (categories, things, {label: (id, name)})
LISTS = {
    "coco_panoptic": (
        133,
        80,
        {0: (1, "person"), 79: (90, "toothbrush"), 80: (92, "banner"), 132: (200, "rug-merged")},
    ),
    "coco_instance": (80, 80, {0: (1, "person"), 79: (90, "toothbrush")}),
    "ade20k_panoptic": (150, 100, {0: (0, "wall"), 12: (12, "person"), 149: (149, "flag")}),
    "ade20k_semantic": (150, 100, {0: (1, "wall"), 12: (13, "person"), 149: (150, "flag")}),
    "cityscapes_semantic": (19, 8, {0: (7, "road"), 2: (11, "building"), 18: (33, "bicycle")}),
    "ytvis_2019": (40, 40, {0: (1, "person"), 39: (40, "tennis_racket")}),
    "ytvis_2021": (40, 40, {0: (1, "airplane"), 25: (26, "person"), 39: (40, "zebra")}),
    "ovis": (25, 25, {0: (1, "Person"), 24: (25, "Vehicle")}),
    "vipseg": (124, 58, {0: (2, "door"), 57: (123, "train"), 58: (0, "wall"), 123: (121, "food")}),
    "vspw": (124, 58, {0: (3, "door"), 57: (124, "train"), 58: (1, "wall"), 123: (122, "food")}),
}


def test_lists_are_those_that_rows_name():
    assert set(category_lists()) == set(LISTS) == {entry.categories for entry in ENTRIES}


@pytest.mark.parametrize("name", LISTS)
def test_category_list(name):
    n_categories, n_things, anchors = LISTS[name]
    categories = category_list(name)
    assert len(categories) == n_categories
    assert sum(category.is_thing for category in categories) == n_things
    assert {k: (categories[k].id, categories[k].name) for k in anchors} == anchors
    assert len({category.id for category in categories}) == n_categories
    assert len({category.name for category in categories}) == n_categories
    assert all(category.name == category.name.strip() != "" for category in categories)
    for is_thing in (True, False):  # each kind by ascending id
        ids = [category.id for category in categories if category.is_thing == is_thing]
        assert ids == sorted(ids)
    if name not in ("vipseg", "vspw"):
        ids = [category.id for category in categories]
        assert ids == sorted(ids)


def test_the_stuff_of_ade20k_is_that_of_its_evaluation():
    expected = {*range(7), 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54}
    expected |= {59, 60, 61, 63, 68, 77, 79, 84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113}
    expected |= {114, 117, 122, 128, 131, 140, 141, 145}
    assert stuff_labels(category_list("ade20k_panoptic")) == expected


def test_lists_of_the_same_data_set_agree():
    coco, things = category_list("coco_panoptic"), category_list("coco_instance")
    assert coco[:80] == things
    for panoptic, semantic in (("ade20k_panoptic", "ade20k_semantic"), ("vipseg", "vspw")):
        pairs = zip(category_list(panoptic), category_list(semantic), strict=True)
        assert all((a.id + 1, a.name, a.is_thing) == (b.id, b.name, b.is_thing) for a, b in pairs)


def test_coco_is_as_its_own_file_says(data_dir):
    path = data_dir / "coco_panoptic_sample" / "panoptic_coco_categories.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    truth = {(c["id"], c["name"], bool(c["isthing"])) for c in content["categories"]}
    assert {(c.id, c.name, c.is_thing) for c in category_list("coco_panoptic")} == truth


def test_unknown_list_is_one_clear_error():
    with pytest.raises(ModelError, match="coco_panoptic"):
        category_list("../catalog")


ROW = catalog()[LARGE].model_dump(mode="json")
DELTA = {"format": "delta", "files": ["a.bin"], "base": "facebook/b"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"input_size": 650}, "multiple of patch_size"),
        ({"name": "Large Model"}, "pattern"),
        ({"hub_id": "coco_panoptic"}, "pattern"),
        ({"hub_id": "a/b/c"}, "pattern"),
        ({"revision": "../main"}, "pattern"),
        ({"format": "original"}, "files are named"),
        ({"files": ["model.bin"]}, "files are named"),
        ({"format": "original", "files": ["../model.bin"]}, "pattern"),
        ({"format": "original", "files": ["a/model.bin"]}, "pattern"),
        ({**DELTA, "base": None}, "a delta has a base"),
        ({"base": "facebook/b"}, "a delta has a base"),
        ({"is_video": True}, "does not go with"),
        ({"backbone": "DINOv3 ViT-L"}, "does not go with"),
        ({"backbone": "DINOv2 ViT-XL"}, "is none of"),
        ({"tasks": []}, "at least 1"),
        ({"tasks": ["panoptic", "panoptic"]}, "name one twice"),
        ({"thresholds": {"score_threshold": 1.2}}, "less than or equal"),
        ({"score": {"metric": "PQ", "value": 560, "dataset": "COCO"}}, "less than or equal"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_rows_that_make_no_sense_are_refused(changed, message):
    with pytest.raises(ValidationError, match=message):
        CatalogEntry(**ROW | changed)


def test_a_commit_can_be_pinned():
    assert CatalogEntry(**ROW | DELTA | {"revision": "0a" * 20}).revision == "0a" * 20


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_card_needs_no_download(entry):
    card = entry_card(entry)
    assert card.folder is None
    assert (card.name, card.architecture, card.tasks) == (
        entry.name,
        entry.architecture,
        entry.tasks,
    )
    assert card.is_video == entry.is_video
    assert card.categories == category_list(entry.categories)
    assert (card.width, card.depth) == (entry.width, entry.depth)


def test_what_the_catalog_knows_lies_over_the_folder(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "m", n_labels=133)
    # As the published semantic models of DINOv3: their processor pads, and names are missing.
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_pad": True}))
    monkeypatch.setattr(store, "local_folder", lambda entry: folder)
    card, plain = find_model(LARGE), read_card(folder)
    assert plain.categories[92].name == "class 92"
    assert card.categories == category_list("coco_panoptic")
    assert card.tasks == ("panoptic", "instance", "semantic")
    assert card.thresholds.score_threshold == 0.8
    assert (card.name, card.folder) == (LARGE, folder)
    # The files are right about themselves.
    assert (card.input_size, card.n_parameters) == (plain.input_size, plain.n_parameters)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("eomt-large-coco-instance-640", "number of categories is 133, expected 80"),
        ("eomt-dinov3-large-coco-panoptic-640", "architecture is eomt, expected eomt_dinov3"),
    ],
)
def test_another_model_in_the_folder_is_one_clear_error(name, message, tmp_path):
    folder = save_tiny(tmp_path / "m", n_labels=133)
    with pytest.raises(ModelError, match=message):
        entry_card(catalog()[name], folder)


@pytest.fixture
def nothing_here(monkeypatch):
    monkeypatch.setattr(store, "local_folder", lambda entry: None)


@pytest.mark.usefixtures("nothing_here")
def test_models_are_found_by_each_of_their_names(tmp_path, monkeypatch):
    assert find_model("nuclei-nano") == bundled_models()["nuclei-nano"]
    assert find_model(LARGE).folder is None
    assert find_model("tue-mps/coco_panoptic_eomt_large_640") == find_model(LARGE)
    folder = save_tiny(tmp_path / "m")
    add_user_model(folder, "my cells")
    assert find_model("my cells").folder == folder
    assert find_model("my cells").name == "my cells"
    assert find_model(folder).name == "m"
    # A name goes before a folder of the same name, which a path still reaches.
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / LARGE)
    assert find_model(LARGE).folder is None
    assert find_model(f"./{LARGE}").folder == tmp_path / LARGE


@pytest.mark.usefixtures("nothing_here")
@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eomt-large-coco-panoptic-460", LARGE),
        ("EoMT-Large-COCO-panoptic-640", LARGE),
        ("nuclei-nanno", "nuclei-nano"),
        ("my-cels", "my-cells"),
    ],
)
def test_a_misspelt_name_gets_the_closest(typed, meant, tmp_path):
    add_user_model(save_tiny(tmp_path / "my-cells"))
    with pytest.raises(ModelError, match=f"Did you mean .*{meant}") as caught:
        find_model(typed)
    assert "\n" not in str(caught.value)


def test_a_hub_id_of_several_models_asks_which():
    with pytest.raises(ModelError, match="videomt-large-ovis-original"):
        find_entry("tue-mps/VidEoMT")
    assert find_entry("tue-mps/nothing") is None


def test_the_catalog_is_light():
    code = (
        "import sys; import napari_eomt.models.catalog as c; c.catalog()\n"
        "[c.category_list(name) for name in c.category_lists()]\n"
        "heavy = {'torch', 'transformers', 'huggingface_hub', 'napari'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("eomt-larg", "eomt-large-coco-panoptic-640"),
        ("eomt-large-coco-panoptc-640", "eomt-large-coco-panoptic-640"),
        ("nuclei-nan", "nuclei-nano"),
    ],
)
def test_a_name_that_is_not_whole_or_misspelt_leads_to_the_model(typed, meant):
    with pytest.raises(ModelError, match=f"Did you mean .*{meant}"):
        find_model(typed)
