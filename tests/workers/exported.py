"""Genomes to export: an experiment whose genomes were retrained, in a moment and without a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from evolver import transfer
from evolver.evaluation import SavedCheckpoint
from evolver.genome.plan import NetworkPlan
from evolver.genome.space import ConvSpace
from evolver.recipe import load as recipe_named
from evolver.retraining import enqueue
from evolver.space import Sample
from evolver.store import experiments, facts, leases
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.experiments import NewDataset
from evolver.store.weights import to_begin_with
from evolver.transfer import Chosen, Start
from tests import factories
from workers import checkpoints
from workers.decoder import Network, decode
from workers.individual import plan_of

MEAN, STD = 4.5, 6.25
"""Of the data, as a training would find them."""
MEASURED = {"test_error": 0.125, "test_loss": 0.5}


def random_plan(preset: str, sample: Sample, seed: int) -> NetworkPlan:
    space = ConvSpace.from_settings(ConvSpace.presets()[preset])
    return space.plan(space.random(np.random.default_rng(seed)), sample)


def trained_network(plan: NetworkPlan, seed: int = 0) -> Network:
    """A network as after a training: no two layers have the same statistics, weights or biases."""
    generator = torch.Generator().manual_seed(seed)
    network = decode(plan, generator)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.5, 0.5, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.uniform_(module.bias, -0.5, 0.5, generator=generator)
    return network.eval()


def searched(database: Database, name: str = "demo", **values: Any) -> Sequence[int]:
    """A finished search of networks on digits; returns the genomes of its front."""
    found = factories.finished(database, name, evaluator="train", recipe="fast", budget=6, **values)
    with database.read() as connection:
        return [one.genome_id for one in facts.front_members(connection, found)]


def retrained(database: Database, base: Path, name: str = "demo", **values: Any) -> int:
    """A genome of such a search whose final training kept its weights under ``base``; its id."""
    genome_id = searched(database, name, **values)[0]
    found = factories.current(database, name)
    factories.do(database, enqueue, found, [genome_id], recipe_named("fast", {"epochs": 3}))
    finish(database, base, begin(database))
    return genome_id


def transferred(database: Database, base: Path, genome_id: int, data: NewDataset, start: Start) -> int:
    """A genome of ``retrained`` that was trained on other data as well; returns the evaluation."""
    with database.write() as connection:
        found = experiments.get(connection, "demo")
        chosen = transfer.choose(connection, found, 1000, "scratch")
        own = tuple(one for one in chosen.genomes if one.genome_id == genome_id)
        kept = to_begin_with(connection, [genome_id]) if start == "weights" else {}
        transfer.enqueue(connection, found, data, Chosen(own, kept), recipe_named("fast", {"epochs": 4}))
    claim = begin(database)
    finish(database, base, claim)
    return claim.task.evaluation_id


def begin(database: Database) -> Claim:
    """Claim a final training."""
    claim = factories.must_claim(database, factories.registered_worker(database))
    assert claim.task.purpose in ("retrain", "transfer")
    return claim


def finish(database: Database, base: Path, claim: Claim) -> None:
    """End it: with weights that no training has made, different ones for each evaluation."""
    task = claim.task
    space = ConvSpace.from_settings(task.space_settings)
    genome = space.from_json(task.code)
    plan = plan_of(task, space, genome)
    key = checkpoints.weights_key(task.evaluation_id, task.token)
    channels = plan.sample.channels
    meta = {
        "phenotype": space.phenotype(genome, task.origin.sample if task.origin else task.dataset.sample),
        "recipe": dict(task.recipe),
        "mean": [MEAN] * channels,
        "std": [STD] * channels,
    }
    network = trained_network(plan, seed=task.evaluation_id)
    written = checkpoints.save(str(base), key, network.state_dict(), meta)
    saved = SavedCheckpoint("weights", 3, written.key, written.sha256, written.bytes)
    with database.write() as connection:
        leases.record_checkpoint(connection, claim.lease, saved)
        leases.complete(connection, claim.lease, MEASURED)
