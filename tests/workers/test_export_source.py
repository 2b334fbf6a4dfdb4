"""The Python file of a network: it is readable, and computes what evolver's network does, without evolver."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from evolver.genome.code import ConvGene, DenseGene, Genome, PoolGene
from evolver.genome.plan import NetworkPlan
from evolver.genome.space import ConvSpace
from evolver.genome.transfer import adapt
from evolver.space import Sample
from tests.workers.exported import random_plan, trained_network
from workers.export.model import Normalised, exported_state
from workers.export.source import layer_names, plain, source

SAMPLES = {
    "image": Sample(1, (28, 28), 10),
    "colours": Sample(3, (32, 32), 100),
    "odd": Sample(2, (7, 9), 3),
    "pixel": Sample(1, (1, 1), 2),
    "series": Sample(3, (37,), 4),
}
ADAPTED = {
    "brought_down": ("tiny", Sample(1, (8, 8), 10), Sample(3, (28, 30), 7)),
    "brought_far_down": ("tiny", Sample(1, (8, 8), 10), Sample(3, (100, 72), 2)),
    "brought_by_a_stride": ("small", Sample(3, (32, 32), 10), Sample(1, (64, 64), 200)),
    "brought_up": ("tiny", Sample(1, (8, 8), 10), Sample(1, (6, 5), 2)),
    "longer_series": ("tiny", Sample(2, (37,), 4), Sample(1, (130,), 6)),
}
GENOMES = {"paper": 1, "small": 3, "tiny": 5}
ABOUT = ["A network.", "Of a test."]

COMPARE = """
import importlib.util, pathlib, sys
sys.modules["evolver"] = sys.modules["workers"] = sys.modules["safetensors"] = None
import torch
torch.set_num_threads(1)
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    case = torch.load(path.with_suffix(".pt"), weights_only=True)
    with torch.no_grad():
        found = module.load()(case["x"])
    torch.testing.assert_close(found, case["expected"], msg=lambda text: f"{path.name}: {text}")
    print(path.stem)
"""


def every_kind() -> NetworkPlan:
    """All that a plan can have: even and odd kernels, both pools, a merged one, identity and other skips."""
    blocks = (
        (ConvGene(2, 6, 0, 1), PoolGene(2, 0.2), ConvGene(5, 7, 0, 1), PoolGene(2, 0.9)),
        (ConvGene(4, 7, 0, 1),),
        (ConvGene(1, 9, 0, 1), ConvGene(3, 3, 0, 1)),
        (ConvGene(3, 5, 0, 1), PoolGene(2, 0.2), PoolGene(2, 0.2)),
    )
    space = ConvSpace.from_settings({})
    return space.plan(Genome(blocks, (DenseGene(11), DenseGene(13))), Sample(2, (23, 18), 5))


def plans() -> dict[str, NetworkPlan]:
    found = {"every_kind": every_kind()}
    for name, (preset, before, target) in ADAPTED.items():
        found[name] = adapt(random_plan(preset, before, 2), target)
    for preset, number in GENOMES.items():
        for name, sample in SAMPLES.items():
            for seed in range(number):
                found[f"{preset}_{name}_{seed}"] = random_plan(preset, sample, seed)
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of networks, and what evolver's own give for some raw samples."""
    directory = tmp_path_factory.mktemp("sources")
    for name, plan in plans().items():
        shape = (plan.sample.channels, *(1,) * len(plan.sample.spatial))
        mean, std = torch.arange(1.0, 1 + shape[0]).view(shape), torch.full(shape, 2.5)
        network = trained_network(plan, seed=len(name))
        x = 2.5 * torch.randn(3, *plan.sample.shape, generator=torch.Generator().manual_seed(1)) + mean
        with torch.no_grad():
            expected = Normalised(network, mean, std)(x)
        (directory / f"{name}.py").write_text(source(plan, ABOUT))
        save_file(exported_state(plan, network, mean, std), directory / f"{name}.safetensors", {"a": "b"})
        torch.save({"x": x, "expected": expected}, directory / f"{name}.pt")
    return directory


def test_a_file_computes_the_same_where_there_is_no_evolver(written: Path) -> None:
    command = [sys.executable, "-I", "-c", COMPARE, str(written)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=written)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == sorted(plans())


@pytest.mark.parametrize("settings", [["--line-length", "110"], []], ids=["as evolver", "ruff's own"])
def test_files_are_formatted(written: Path, settings: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--no-cache", *settings, str(written)]
    formatted = subprocess.run([*ruff, "format", "--check", *options], capture_output=True, text=True)
    assert formatted.returncode == 0, formatted.stdout + formatted.stderr
    rules = ["--select", "E,F,W,I,UP,B,C4,RET,PIE,SIM"]
    linted = subprocess.run([*ruff, "check", *options, *rules], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


def test_layers_have_names_and_shapes() -> None:
    text = source(every_kind(), ABOUT)
    for line in [
        "self.conv1 = nn.Conv2d(64, 6, kernel_size=2, bias=False)",
        "y = F.pad(x, (0, 1, 0, 1))  # keeps the size under an even kernel",
        "y = F.avg_pool2d(y, 2)  # (7, 5, 4)",
        "y = F.max_pool2d(y, 4)  # (5, 1, 1)",
        "x = x[:, :, :20:4, :16:4]  # as many as pooling leaves",
        "self.dense1_norm = nn.BatchNorm1d(11)",
        "x = x.flatten(1)  # 5",
    ]:
        assert f"        {line}\n" in text
    names = layer_names(every_kind())
    assert names[:4] == ["stem_conv", "stem_norm", "block1.conv1", "block1.norm1"]
    assert names[-3:] == ["dense2", "dense2_norm", "output"]
    assert not any(name.startswith("block2.skip") for name in names), "its skip is the identity"


def test_an_adapted_stem_says_what_it_does() -> None:
    text = source(plans()["brought_far_down"], ABOUT)
    for line in [
        "self.stem_conv = nn.Conv2d(3, 8, 7, stride=4, padding=3, bias=False)",
        "x = F.avg_pool2d(x, (3, 2))  # (3, 33, 36)",
        'x = F.interpolate(x, (32, 32), mode="bilinear")  # (3, 32, 32)',
    ]:
        assert f"        {line}\n" in text


@pytest.mark.parametrize(
    "name",
    ['"""\nimport os\n"""', "a\\", "'''", "x\u2028y\x00", '" + __import__("os").getcwd() + "'],
)
def test_no_name_becomes_code(name: str) -> None:
    clean = ast.dump(ast.parse(source(every_kind(), ["", ""])).body[1], include_attributes=False)
    body = ast.parse(source(every_kind(), [name, name])).body
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)
    assert ast.dump(body[1], include_attributes=False) == clean
    assert len(body) == len(ast.parse(source(every_kind(), ABOUT)).body)
    assert plain(name) == "".join(one for one in plain(name) if one.isprintable() and one not in "\"'\\`")
