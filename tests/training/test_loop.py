"""Runs learn, stop, repeat in several processes, and fail with a word."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.training.drawn import begin, params, save_model, save_nuclei
from tests.training.tiny import tiny_model

import napari_eomt as ne
from napari_eomt.errors import DataError, ModelError
from napari_eomt.evaluation.report import Report
from napari_eomt.structures.categories import Category
from napari_eomt.training import engine
from napari_eomt.training.checkpoint import find_states, load_state
from napari_eomt.training.loop import iter_train
from napari_eomt.training.setup import set_up
from napari_eomt.training.start import fit_class_head
from napari_eomt.training.supply import seed_of
from napari_eomt.training.train import begin_run
from napari_eomt.training.train_progress import drive


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


def rows_of(run, kind):
    return [row for row in run.rows() if row["kind"] == kind]


def test_what_a_model_does_not_know_is_learnt(tmp_path):
    """The bundled model learns a category that is new to it: from hardly any to nearly all."""
    dataset = save_nuclei(tmp_path / "set", n_images=3, size=128, n=8, name="cell")
    run = ne.train(
        dataset,
        params(steps=100, batch_size=4, learning_rate=1e-3, validation_interval=50, metric="ap50"),
        out=tmp_path / "run",
        device="cpu",
    )
    losses = [row["loss"] for row in rows_of(run, "step")]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    before, *_, after = [row["ap50"] for row in rows_of(run, "check")]
    # The new class begins beside the known one, so something is found; the same in every run.
    assert before == pytest.approx(0.5)
    assert after > 0.8
    assert Report.load(run.folder / "reports" / "best.json").total.ap50 == pytest.approx(after)
    # What came of it is a model like any other, and finds as much as the check has said.
    found = ne.evaluate(
        ne.load_dataset(dataset), ne.load_segmenter(run.model_folder, "cpu"), score_threshold=0.5
    )
    assert found.total.ap50 > 0.8
    assert not (run.folder / "trunk").exists()


def test_masked_attention_is_for_models_that_find_nothing_yet(tmp_path, dataset, tiny):
    def first_probabilities(name, **given):
        setup, run = begin(tmp_path, dataset, tiny, name, steps=12, preset="full", **given)
        steps = iter_train(setup, run)
        next(item for item in steps if item.step == 1)
        steps.close()
        # What was decided stands in the run: it goes on with the same after a stop.
        return run.plan.resolved.masked_attention, setup.learner.network.mask_probabilities

    # As transformers makes a model, its queries are held to their masks until it is trained.
    way, probabilities = first_probabilities("new")
    assert way == "anneal"
    assert all(p == 1 for p in probabilities)
    assert first_probabilities("asked", masked_attention="none") == ("none", (0.0,) * 2)
    setup, _ = begin(tmp_path, dataset, "nuclei-nano", "known", steps=12, preset="full")
    assert setup.plan.resolved.masked_attention == "none"


def test_parts_of_a_batch_add_up(tmp_path, dataset, tiny):
    """A step in one process is the same in parts but for the points at which masks are compared."""
    losses = []
    for name, micro_batch in (("whole", 4), ("parts", 2)):
        options = {"batch_size": 4, "micro_batch": micro_batch, "precision": "fp32"}
        setup, run = begin(tmp_path, dataset, tiny, name, steps=2, **options)
        drive(iter_train(setup, run))
        losses.append([row["loss"] for row in rows_of(run, "step")])
        assert rows_of(run, "start")[0]["micro_batch"] == micro_batch
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


def test_a_loss_that_is_not_finite_stops_the_run_with_its_state(tmp_path, dataset, tiny):
    """Images as bright as no camera makes them: the weights are as good as before."""
    setup, run = begin(tmp_path, dataset, tiny, preset="full")
    steps = iter_train(setup, run)
    for progress in steps:
        if progress.what == "step" and progress.step == 3:
            break
    hook = setup.learner.network.model.embeddings.register_forward_hook(
        lambda module, inputs, output: output * torch.inf
    )
    with pytest.raises(ModelError) as caught:
        drive(steps)
    hook.remove()
    message = str(caught.value)
    assert message.startswith("Step 4: the loss is not finite (its mask")
    assert "drawn" in message  # which images
    assert "The state of step 3 is kept" in message
    assert "lower learning rate" in message
    assert run.status() == "failed"
    assert rows_of(run, "end")[-1]["text"] == message
    state = load_state(run.folder / "state")
    assert state.progressed.step == 3
    weights = load_file(state.folder / "model.safetensors")
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


@pytest.mark.parametrize("interval", [100, 2])
def test_weights_that_are_not_finite_take_no_good_ones_place(tmp_path, dataset, tiny, interval):
    """A learning rate beyond all reason: neither a state nor a model is written of what it does."""
    options = {"preset": "full", "learning_rate": 1e30, "validation_interval": interval}
    setup, run = begin(
        tmp_path, dataset, tiny, head_warm_up=0, backbone_warm_up=0, steps=8, **options
    )
    with pytest.raises(
        ModelError, match=r"(not finite|are not finite after it).*state of step"
    ) as e:
        drive(iter_train(setup, run, state_seconds=0))
    assert "1e+30" in str(e.value)
    for folder in [*find_states(run.folder / "state"), run.last]:
        weights = load_file(folder / "model.safetensors")
        assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    step = load_state(run.folder / "state").progressed.step
    assert f"The state of step {step} is kept" in str(e.value)


def test_memory_that_runs_out_takes_less_at_a_time(tmp_path, dataset, tiny, monkeypatch):
    real = engine.train_step

    def short_of_memory(network, batches, *args, **options):
        if any(len(batch.targets) > 1 for batch in batches):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(network, batches, *args, **options)

    monkeypatch.setattr(engine, "train_step", short_of_memory)
    setup, run = begin(tmp_path, dataset, tiny, batch_size=4, steps=2)
    drive(iter_train(setup, run))
    notes = [row["text"] for row in rows_of(run, "note") if "Memory" in row["text"]]
    assert [note.split("continued with ")[1][:7] for note in notes] == ["2 views", "1 views"]
    assert load_state(run.folder / "state").progressed.micro_batch == 1

    def none_left(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine, "train_step", none_left)
    setup, run = begin(tmp_path, dataset, tiny, "second")
    with pytest.raises(ModelError, match="does not suffice to learn from a single view"):
        drive(iter_train(setup, run))
    assert run.status() == "failed"


def test_a_wish_to_stop_is_heard_after_each_step(tmp_path, dataset, tiny):
    setup, run = begin(tmp_path, dataset, tiny, validation_interval=3)
    steps = iter_train(setup, run)
    for progress in steps:
        if progress.what == "step" and progress.step == 2:
            run.request_stop()
            break
    outcome = drive(steps)
    assert (outcome.reason, outcome.step) == ("stopped", 2)
    assert run.status() == "stopped"
    # The wish does not outlive the run that it was for.
    again = ne.train(dataset, out=run.folder, resume=True)
    assert again.status() == "finished"


def test_a_stop_while_checking_repeats_the_check(tmp_path, dataset, tiny):
    setup, run = begin(tmp_path, dataset, tiny, steps=4, validation_interval=2)
    steps = iter_train(setup, run)
    for progress in steps:
        if progress.what == "check" and progress.step == 2:
            steps.close()
            break
    assert [row["step"] for row in rows_of(run, "check")] == [0]
    ne.train(dataset, out=run.folder, resume=True)
    assert [row["step"] for row in rows_of(run, "check")] == [0, 2, 4]
    assert [row["step"] for row in rows_of(run, "step")] == [1, 2, 3, 4]


def test_patience_ends_a_run_that_does_not_get_better(tmp_path, dataset):
    setup = set_up(
        dataset,
        params(steps=20, validation_interval=1, patience=2, learning_rate=1e-12),
        "nuclei-nano",
        device="cpu",
    )
    run = begin_run(tmp_path / "run", setup)
    outcome = drive(iter_train(setup, run))
    assert (outcome.reason, outcome.step, outcome.best_step) == ("finished", 2, 0)
    assert outcome.before == outcome.best
    assert run.status() == "finished"


def test_images_of_another_dataset_check(tmp_path, dataset, tiny):
    other = save_nuclei(tmp_path / "other", n_images=2, first_seed=10)
    setup = set_up(dataset, params(), tiny, device="cpu", val_dataset=other)
    assert len(setup.split.train) == 4
    assert len(setup.split.val) == 2
    with pytest.raises(DataError, match="what is learnt from"):
        set_up(dataset, params(), tiny, device="cpu", val_dataset=dataset)


def test_one_image_learns_without_a_check(tmp_path, tiny):
    dataset = save_nuclei(tmp_path / "one", n_images=1)
    setup, run = begin(tmp_path, dataset, tiny, steps=2)
    assert any("none is left to check" in note for note in setup.notes)
    outcome = drive(iter_train(setup, run))
    assert outcome.best is None
    assert run.best is None
    assert run.model_folder == run.last
    ne.load_segmenter(run.last, "cpu")


def test_frozen_weights_stay_and_others_learn(tmp_path, dataset, tiny):
    before = ne.load_segmenter(tiny, "cpu").model.state_dict()
    frozen = {
        "quick": (),
        "trunk": ("embeddings.", "layers.0."),
        "lora": ("embeddings.", "layers."),
        "full": (),
    }
    for preset, names in frozen.items():
        given = {"frozen_blocks": "trunk"} if preset == "trunk" else {"preset": preset}
        setup, run = begin(tmp_path, dataset, tiny, preset, head_warm_up=0, **given)
        drive(iter_train(setup, run))
        after = setup.learner.network.model.state_dict()
        for name, value in before.items():
            here = name if name in after else name.replace(".weight", ".base_layer.weight")
            here = here if here in after else here.replace(".bias", ".base_layer.bias")
            if name.startswith(("class_predictor", "criterion", "attn_mask_probs")):
                continue
            is_same = torch.equal(after[here], value)
            assert is_same == (name.startswith(names) if names else "mask_token" in name), name


def test_class_rows_stay_where_names_match():
    model = tiny_model("eomt", num_labels=2)
    weight = model.class_predictor.weight.detach().clone()
    categories = [Category(k, f"c{k}") for k in range(1, 5)]
    fit_class_head(model, categories, 2, seed=3)
    new = model.class_predictor.weight
    assert new.shape[0] == 5
    assert torch.equal(new[:2], weight[:2])
    assert torch.equal(new[4], weight[2])  # no object
    assert not torch.equal(new[2], new[3])
    torch.testing.assert_close(new[2], weight[:2].mean(0), rtol=0, atol=0.1 * 32**-0.5)
    assert model.config.num_labels == 4
    assert model.criterion.empty_weight.tolist() == pytest.approx([1, 1, 1, 1, 0.1])


def test_seeds_of_parts_differ():
    seeds = {seed_of(seed, number) for seed in range(20) for number in range(500)}
    assert len(seeds) == 20 * 500
