"""Networks that are brought to other data: their arithmetic, their weights, and their training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from evolver import recipe
from evolver.errors import EnvironmentFault, EvaluationFailed, HandedBack, InvalidInput
from evolver.evaluation import DatasetRef, Origin, Resume, Task, Weights
from evolver.genome.cost import cost
from evolver.genome.plan import NetworkPlan
from evolver.genome.space import ConvSpace
from evolver.genome.transfer import adapt, kept_parts
from evolver.space import Sample
from tests.workers.recorder import Recorder
from workers import checkpoints
from workers.admission import estimate
from workers.blocks import Resize
from workers.decoder import Network, decode
from workers.individual import individual_of
from workers.training import TrainEvaluator

torch.set_num_threads(1)

SPACE = ConvSpace.from_settings(ConvSpace.presets()["tiny"])
GENOME = SPACE.random(np.random.default_rng(1))
DIGITS = Sample(1, (8, 8), 10)
COLOURS = Sample(3, (16, 20), 3)


def network_of(plan: NetworkPlan, seed: int = 0) -> Network:
    return decode(plan, torch.Generator().manual_seed(seed))


# --- the plan ----------------------------------------------------------------------------------------

SHAPES = [
    (DIGITS, Sample(1, (28, 28), 10), 3, (24, 24)),
    (DIGITS, Sample(3, (32, 32), 100), 4, None),
    (DIGITS, Sample(3, (224, 160), 7), 4, (32, 32)),
    (DIGITS, Sample(1, (8, 8), 2), 1, None),
    (DIGITS, Sample(3, (6, 5), 2), 1, (8, 8)),
    (DIGITS, Sample(1, (20, 8), 2), 1, (8, 8)),
    (Sample(3, (32, 32), 10), Sample(3, (64, 65), 200), 2, (64, 64)),
    (Sample(3, (7, 9), 3), Sample(2, (14, 18), 3), 2, None),
    (Sample(2, (37,), 4), Sample(1, (100,), 6), 2, (74,)),
    (Sample(2, (37,), 4), Sample(2, (9,), 6), 1, (37,)),
]


@pytest.mark.parametrize(("source", "target", "stride", "resize"), SHAPES)
@pytest.mark.parametrize("preset", ["tiny", "small"])
def test_parameters_flops_and_sizes_are_those_of_the_adapted_plan(
    preset: str, source: Sample, target: Sample, stride: int, resize: tuple[int, ...] | None
) -> None:
    space = ConvSpace.from_settings(ConvSpace.presets()[preset])
    for seed in range(2):
        found = space.plan(space.random(np.random.default_rng(seed)), source)
        plan = adapt(found, target)
        assert (plan.stem.stride, plan.resize) == (stride, resize)
        assert (plan.blocks, plan.hidden, plan.flatten) == (found.blocks, found.hidden, found.flatten)
        network = network_of(plan).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            x = torch.zeros(1, *target.shape)
            stem = network.stem(network.resize(x))
            counted = counter.get_total_flops()
            logits = network(x)
        expected = cost(plan)
        assert stem.shape[1:] == (found.stem.out_channels, *source.spatial)
        assert logits.shape == (1, target.classes)
        assert sum(p.numel() for p in network.parameters()) == expected.params
        assert counter.get_total_flops() - counted == expected.flops


def test_the_same_samples_change_nothing() -> None:
    found = SPACE.plan(GENOME, DIGITS)
    assert adapt(found, DIGITS) == found


@pytest.mark.parametrize("size", [(16, 16), (28, 28), (32, 32), (200, 90), (5, 30)])
def test_a_stem_sees_every_pixel(size: tuple[int, int]) -> None:
    """A change of any pixel that a whole window takes in changes what the stem gives."""
    plan = adapt(SPACE.plan(GENOME, DIGITS), Sample(1, size, 10))
    network = network_of(plan).eval()
    x = torch.zeros(1, 1, *size, requires_grad=True)
    convolved = network.stem[0](network.resize(x))
    (gradient,) = torch.autograd.grad(convolved.abs().sum() + convolved.square().sum() + convolved.sum(), x)
    seen = (gradient[0, 0] != 0).float()
    taken_in = plan.resize or size
    whole = tuple(
        n // max(1, n // wanted) * max(1, n // wanted) for n, wanted in zip(size, taken_in, strict=True)
    )
    assert seen[: whole[0], : whole[1]].mean() == 1.0


def test_resizing_keeps_means_and_brings_edges_to_where_they_were() -> None:
    x = torch.zeros(1, 1, 40, 40)
    x[..., 20:] = 1.0
    for to in ((8, 8), (24, 24), (60, 60)):
        y = Resize((40, 40), to)(x)
        assert y.shape == (1, 1, *to)
        assert y[..., : to[1] // 2 - 2].max() == 0.0
        assert y[..., to[1] // 2 + 2 :].min() == 1.0
        assert y.mean().item() == pytest.approx(0.5, abs=1e-6)


def test_the_host_is_asked_for_the_memory_of_the_adapted_network(task: Task) -> None:
    assert task.origin is not None
    adapted = adapt(SPACE.plan(GENOME, DIGITS), COLOURS)
    individual = individual_of(task)
    assert individual.cost == cost(adapted)
    assert individual.phenotype == SPACE.phenotype(GENOME, DIGITS)
    assert estimate(task) > estimate(replace(task, origin=None, dataset=replace(task.dataset, sample=DIGITS)))


def test_images_are_not_made_of_series() -> None:
    with pytest.raises(InvalidInput, match="found on images of 8×8, and these data are series of length 50"):
        adapt(SPACE.plan(GENOME, DIGITS), Sample(1, (50,), 2))


# --- training ----------------------------------------------------------------------------------------


@pytest.fixture
def context(tmp_path: Path) -> Recorder:
    return Recorder(str(tmp_path), data_dir=tmp_path)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """The transfer of a genome of the digits to bars of three colours, which can be told apart."""
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, number in (("train", 120), ("test", 60)):
        y = np.arange(number) % COLOURS.classes
        x = rng.integers(0, 60, (number, *COLOURS.shape), dtype=np.uint8)
        x[np.arange(number), y, 4:12] += 150
        arrays |= {f"x_{part}": x, f"y_{part}": y}
    np.savez(tmp_path / "bars.npz", **arrays)
    settings = {"epochs": 4, "batch_size": 20, "precision": "fp32", "deterministic": True}
    return Task(
        evaluation_id=9,
        genome_id=4,
        token="t",
        purpose="transfer",
        rung=0,
        evaluator="train",
        space="conv",
        space_settings=SPACE.settings(),
        code=SPACE.to_json(GENOME),
        dataset=DatasetRef(2, "npz:bars.npz", COLOURS, 96, 24, 60, 0, None),
        limit_train=None,
        recipe=recipe.load("fast", settings).to_json(),
        objectives=("error", "loss"),
        seed=7,
        timeout_s=None,
        origin=Origin(DIGITS, None),
    )


def test_a_task_survives_its_way_to_the_training_process(task: Task) -> None:
    began = replace(task, origin=Origin(DIGITS, Weights(3, "3/a/weights.safetensors", "0" * 64)))
    for one in (task, began, replace(task, origin=None)):
        assert Task.from_json(one.to_json()) == one


def test_a_transfer_is_trained_and_tested_on_the_target(task: Task, context: Recorder) -> None:
    outcome = TrainEvaluator().evaluate(task, context)
    assert outcome.measured["test_error"] < 0.1
    adapted = cost(adapt(SPACE.plan(GENOME, DIGITS), COLOURS))
    assert (outcome.measured["params"], outcome.measured["flops"]) == (adapted.params, adapted.flops)
    (saved,) = context.checkpoints
    tensors, meta = checkpoints.load(context.checkpoint_url, saved.key, saved.sha256)
    assert Sample.from_json(meta["source_sample"]) == DIGITS
    rebuilt = adapt(SPACE.plan(SPACE.from_json(meta["code"]), DIGITS), COLOURS)
    network_of(rebuilt).load_state_dict(tensors)


def test_an_interrupted_transfer_ends_as_an_uninterrupted_one(
    task: Task, context: Recorder, tmp_path: Path
) -> None:
    task = replace(task, origin=Origin(DIGITS, source_weights(context.checkpoint_url)))
    whole = TrainEvaluator().evaluate(task, context)
    first = Recorder(str(tmp_path), data_dir=tmp_path, stop_after=8)
    with pytest.raises(HandedBack):
        TrainEvaluator().evaluate(task, first)
    second = Recorder(str(tmp_path), data_dir=tmp_path)
    again = replace(task, token="b", resume=first.last_checkpoint())
    resumed = TrainEvaluator().evaluate(again, second)
    assert first.curve() + second.curve() == context.curve()
    assert resumed.measured["test_loss"] == whole.measured["test_loss"]

    third = Recorder(str(tmp_path), data_dir=tmp_path)
    unusable = replace(task, token="c", resume=Resume("9/t/77.safetensors", "0" * 64, 77))
    assert TrainEvaluator().evaluate(unusable, third).measured["test_loss"] == whole.measured["test_loss"]


def source_weights(base: str, sample: Sample = DIGITS) -> Weights:
    """Weights as a final training of the genome keeps them, each layer another constant."""
    state = network_of(SPACE.plan(GENOME, sample)).state_dict()
    for number, tensor in enumerate(state.values(), start=1):
        tensor.fill_(number / 100 if tensor.is_floating_point() else 1)
    written = checkpoints.save(base, checkpoints.weights_key(3, "a"), state, {})
    return Weights(3, written.key, written.sha256)


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (COLOURS, ("blocks", "hidden")),
        (Sample(1, (16, 16), 10), ("blocks", "hidden")),
        (Sample(1, (10, 10), 10), ("stem", "blocks", "hidden")),
        (DIGITS, ("stem", "blocks", "hidden")),
    ],
)
def test_what_is_taken_over_is_all_but_an_adapted_stem_and_the_output(
    task: Task, context: Recorder, monkeypatch: pytest.MonkeyPatch, target: Sample, parts: tuple[str, ...]
) -> None:
    from workers import training

    weights = source_weights(context.checkpoint_url)
    began = replace(task, dataset=replace(task.dataset, sample=target), origin=Origin(DIGITS, weights))
    assert kept_parts(SPACE.plan(GENOME, DIGITS), adapt(SPACE.plan(GENOME, DIGITS), target)) == parts
    state = training._network(began, individual_of(began), context).state_dict()
    kept, _ = checkpoints.load(context.checkpoint_url, weights.key, weights.sha256)
    fresh = network_of(adapt(SPACE.plan(GENOME, DIGITS), target)).state_dict()
    assert state.keys() == fresh.keys()
    for name, tensor in state.items():
        is_kept = name.partition(".")[0] in parts
        assert (tensor.shape == kept[name].shape and torch.equal(tensor, kept[name])) == is_kept, name


def test_weights_that_cannot_be_read_here_are_a_fault_of_the_host(task: Task, context: Recorder) -> None:
    lost = Weights(3, "3/a/weights.safetensors", "0" * 64)
    with pytest.raises(
        EnvironmentFault, match=r"genome 4 is to begin cannot be read here .* 'evolver retrain'"
    ):
        TrainEvaluator().evaluate(replace(task, origin=Origin(DIGITS, lost)), context)
    with pytest.raises(EnvironmentFault, match="cannot be read here"):
        TrainEvaluator().evaluate(replace(task, origin=Origin(DIGITS, Weights(3, "", ""))), context)


def test_weights_of_another_network_are_refused(task: Task, context: Recorder) -> None:
    weights = source_weights(context.checkpoint_url, Sample(1, (28, 28), 10))
    if cost(SPACE.plan(GENOME, DIGITS)).params == cost(SPACE.plan(GENOME, Sample(1, (28, 28), 10))).params:
        pytest.fail("the two networks have the same sizes: the test shows nothing")
    with pytest.raises(EvaluationFailed, match="another network than that of genome 4"):
        TrainEvaluator().evaluate(replace(task, origin=Origin(DIGITS, weights)), context)
