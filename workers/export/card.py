"""The model card: what a model is, where it comes from, and how to use it, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from evolver.space import Json
from workers.export.facts import INPUT, KEY, OUTPUT
from workers.export.source import plain

UNTRAINED = (
    "**UNTRAINED.** The weights are drawn as at the beginning of a training. The network predicts nothing; "
    "it is for measuring, or for training elsewhere. No data were read: mean and standard deviation are 0 "
    "and 1, so that samples pass as they are."
)


def card(
    facts: Mapping[str, Json], architecture: Sequence[str], checks: Mapping[str, Json], kind: str, file: Path
) -> str:
    """The card of a file of format ``kind``; ``architecture`` are the lines of ``describe()``."""
    parts = [
        f"# Genome {facts['genome_id']} of {plain(facts['experiment'])}",
        _summary(facts, kind, file),
        *([] if facts["trained"] else [UNTRAINED]),
        "## Input and output",
        _interface(facts),
        "## Use",
        _fenced(_usage(facts, kind, file), "python"),
        _beside(kind, file),
        "## Results",
        "\n".join(_results(facts)),
        "## Architecture",
        _fenced("\n".join(architecture)),
        "## Where it comes from",
        "\n".join(_origin(facts)),
        "## Recipe",
        "\n".join(_recipe(facts)),
        "## Checks of this file",
        _checks(checks),
        "## Code",
        _fenced(json.dumps(facts["code"], indent=2), "json"),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(facts: Mapping[str, Json], kind: str, file: Path) -> str:
    found_on, name = plain(facts["searched_on"]["name"]), plain(facts["dataset"]["name"])
    brought = f" and brought to `{name}`, with stem and output adapted" if _is_transferred(facts) else ""
    return (
        f"A convolutional network of {facts['params']:,} parameters ({facts['flops']:,} FLOPs a sample), "
        f"found by evolver on the data set `{found_on}`{brought}. "
        f"This is the card of `{file.name}` (format {kind})."
    )


def _is_transferred(facts: Mapping[str, Json]) -> bool:
    return facts["training"] is not None and facts["training"]["purpose"] == "transfer"


def _interface(facts: Mapping[str, Json]) -> str:
    mean, std = facts["normalisation"]["mean"], facts["normalisation"]["std"]
    return "\n".join(
        [
            f"- Input `{INPUT}`: float32, {_axes(facts['input']['shape'])}, **raw values as the data set has "
            "them** (images of bytes: 0 … 255). The network subtracts the mean and divides by the standard "
            "deviation of each channel itself: do not do it before.",
            f"- Mean: {_numbers(mean)}; standard deviation: {_numbers(std)}.",
            f"- Output `{OUTPUT}`: float32, {_axes(facts['output']['shape'])}: logits, **without softmax**. "
            "The largest is that of the predicted class; a softmax over the last axis makes probabilities.",
        ]
    )


def _axes(shape: Sequence[Json]) -> str:
    return f"({', '.join(map(str, shape))})"


def _numbers(values: Sequence[float]) -> str:
    """Of each channel; of many channels, the first ones."""
    shown = ", ".join(f"{value:.6g}" for value in values[:8])
    return f"{shown}, … ({len(values)} channels)" if len(values) > 8 else shown


# --- use ---------------------------------------------------------------------------------------------


def _usage(facts: Mapping[str, Json], kind: str, file: Path) -> str:
    """Lines that run in the file's directory, each with the packages that it imports alone."""
    sample = ", ".join(map(str, facts["input"]["shape"][1:]))
    name = json.dumps(file.name)  # a literal of Python as well
    if kind == "onnx":
        return (
            "import numpy as np\nimport onnxruntime\n\n"
            f"session = onnxruntime.InferenceSession({name})\n"
            f"x = np.zeros((4, {sample}), np.float32)  # four raw samples\n"
            f'(logits,) = session.run(["{OUTPUT}"], {{"{INPUT}": x}})\n'
            "print(logits.argmax(1))  # their classes"
        )
    if kind == "safetensors":
        return (
            "import json\n\nfrom safetensors import safe_open\nfrom safetensors.torch import load_file\n\n"
            f"weights = load_file({name})\n"
            f'with safe_open({name}, "pt") as file:\n'
            f'    facts = json.loads(file.metadata()["{KEY}"])  # code, data set, recipe, results\n'
            'print(len(weights), "tensors of genome", facts["genome_id"])'
        )
    load = f"network = torch.export.load({name}).module()"
    imports = "import torch"
    if kind == "python":
        load = f"network = {file.stem}.load()  # with the weights beside it"
        imports = f"import torch\n\nimport {file.stem}"
    return (
        f"{imports}\n\n{load}\n"
        f"x = torch.zeros(4, {sample})  # four raw samples\n"
        "with torch.no_grad():\n    logits = network(x)\n"
        "print(logits.argmax(1))  # their classes"
    )


def _beside(kind: str, file: Path) -> str:
    if kind == "python":
        return (
            f"`{file.name}` needs torch alone; `{file.with_suffix('.safetensors').name}` holds the weights "
            "and these facts as JSON."
        )
    if kind == "safetensors":
        return "The tensors have the names that they have in the file of `evolver export --format python`."
    return ""


# --- results and origin ------------------------------------------------------------------------------


def _results(facts: Mapping[str, Json]) -> Iterator[str]:
    search, training = facts["metrics"]["search"] or {}, facts["metrics"]["training"] or {}
    names = [name for name in {**search, **training} if name not in ("params", "flops")]
    if not names:
        yield "None yet."
        return
    yield (
        "Measured by the search on the validation part, and by the final training, which trains on that part "
        "as well, on the test part, once."
    )
    if _is_transferred(facts):
        found_on, name = plain(facts["searched_on"]["name"]), plain(facts["dataset"]["name"])
        yield f"The search measured on `{found_on}`, the final training on `{name}`."
    if not facts["trained"]:
        yield "These are results of the genome after its training, not of the weights in this file."
    yield "\n| | search | final training |"
    yield "|---|---|---|"
    for name in names:
        yield f"| {plain(name)} | {_value(name, search.get(name))} | {_value(name, training.get(name))} |"


def _value(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    percent = f" (accuracy {100 * (1 - value):.2f} %)" if name.endswith("error") else ""
    return f"{value:.6g}{percent}"


def _origin(facts: Mapping[str, Json]) -> Iterator[str]:
    lineage, made = facts["lineage"], facts["exported_with"]
    parents = " and ".join(map(str, lineage["parent_ids"]))
    born = f"{lineage['operator']} of {parents}" if parents else lineage["operator"]
    origin = f", from {plain(lineage['origin'])}" if lineage["origin"] else ""
    seed = facts["seed"]
    yield f"- Search: {plain(facts['experiment'])}, birth {facts['birth']}, seed {seed['experiment']}"
    yield f"- Born by: {born}{origin}"
    yield f"- Ancestors: {lineage['ancestors']}, over {lineage['generations']} generations"
    yield f"- Phenotype: `{facts['phenotype']}`"
    if _is_transferred(facts):
        yield f"- Found on: {_data(facts['searched_on'])}"
    yield f"- Data set: {_data(facts['dataset'])}"
    if facts["training"] and facts["training"]["init_from"]:
        yield f"- Began with the weights of evaluation {facts['training']['init_from']}"
    yield f"- Seed of the initial weights: {seed['weights']}"
    if facts["trained"]:
        with_ = ", ".join(f"{plain(name)} {plain(str(one))}" for name, one in facts["trained_with"].items())
        yield f"- Trained: until {facts['trained_at']} on {plain(facts['trained_on'])}, with {with_}"
    yield f"- Exported: {facts['exported_at']}, with evolver {made['evolver']}, torch {made['torch']}"


def _data(data: Mapping[str, Json]) -> str:
    return (
        f"`{plain(data['name'])}`, {data['train']} to train, {data['validation']} to validate, "
        f"{data['test']} to test on; {data['sample']['classes']} classes; sha256 `{data['sha256']}`"
    )


def _recipe(facts: Mapping[str, Json]) -> Iterator[str]:
    search, training = facts["recipe"]["search"], facts["recipe"]["training"]
    yield "| setting | search | final training |"
    yield "|---|---|---|"
    for name, value in search.items():
        yield f"| {plain(name)} | {plain(str(value))} | {plain(str(training[name])) if training else '–'} |"


def _checks(checks: Mapping[str, Json]) -> str:
    batches = ", ".join(map(str, checks["batches"]))
    others = "".join(
        f" {name}: {value}."
        for name, value in checks.items()
        if name not in ("batches", "largest_difference", "tolerance")
    )
    return (
        f"Read back and compared with evolver's network on batches of {batches} random samples: the logits "
        f"differ by {checks['largest_difference']:.1e} of the largest at most ({checks['tolerance']:.0e} is "
        f"tolerated).{others}"
    )


def _fenced(text: str, language: str = "") -> str:
    return f"```{language}\n{text}\n```"
