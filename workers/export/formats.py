"""The files of a model, format by format. Each is read back and compared before it counts as written.

FORMATS  the formats by name: suffixes of their files, what they need, and the function that writes them.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor

from evolver.errors import EvolverError, InvalidInput
from evolver.space import Json
from workers.export.facts import BATCH, INPUT, KEY, OUTPUT
from workers.export.model import Model, module_of, namespace_of

OPSET = 18
"""Of ONNX, from 2022: what reads newer ones reads this, and nothing in a network needs more."""
ONNX_LIMIT_BYTES = 2_000_000_000
"""An ONNX file is one protobuf message, of 2 GiB at most."""
BATCHES = (1, 2, 7, 32)
TOLERANCE = 1e-4
"""Times the largest logit, or 1 where that is less: float32 sums in another order differ by less."""
PT2_FACTS = f"{KEY}.json"

Check = dict[str, Json]


class CheckFailed(EvolverError):
    """What was written does not compute what evolver's network does."""


def write_onnx(model: Model, facts: Mapping[str, Json], path: Path) -> Check:
    """ONNX with one dynamic axis, the batch; checked by onnx.checker and with onnxruntime."""
    import onnx
    import onnxruntime  # type: ignore[import-untyped]

    if sum(tensor.nbytes for tensor in model.state.values()) > ONNX_LIMIT_BYTES:
        raise InvalidInput(
            "the network is too large for an ONNX file (2 GB): use --format pt2 or safetensors"
        )
    with _converting("ONNX"):
        program = torch.onnx.export(
            model.module,
            (_samples(model, 2),),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=_dynamic(),
            opset_version=OPSET,
            verbose=False,
        )
        assert program is not None
        proto = program.model_proto
    onnx.helper.set_model_props(proto, {KEY: json.dumps(facts)})
    path.write_bytes(proto.SerializeToString())
    with _converting("ONNX"):
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return {
        "onnx.checker": "ok",
        "opset": OPSET,
        **_compared(model, lambda x: torch.from_numpy(session.run([OUTPUT], {INPUT: x.numpy()})[0])),
    }


def write_pt2(model: Model, facts: Mapping[str, Json], path: Path) -> Check:
    """A program of torch.export, with a dynamic batch."""
    with _converting("torch.export"):
        program = torch.export.export(model.module, (_samples(model, 2),), dynamic_shapes=_dynamic())
        torch.export.save(program, path, extra_files={PT2_FACTS: json.dumps(facts)})
        read = torch.export.load(path).module()
    return _compared(model, read)


def write_safetensors(model: Model, facts: Mapping[str, Json], path: Path) -> Check:
    """The weights under the names of the Python file; the facts stand in the file's header."""
    state = {name: tensor.contiguous() for name, tensor in model.state.items()}
    path.write_bytes(serialise(state, {"format": "pt", KEY: json.dumps(facts)}))
    module = module_of(model.source)
    module.load_state_dict(load_file(path))
    with safe_open(path, "pt") as file:
        if json.loads(file.metadata()[KEY]) != facts:
            raise CheckFailed(f"the metadata of {path.name} are not what was written")
    return {"tensors": len(state), **_compared(model, module.eval())}


def write_python(model: Model, facts: Mapping[str, Json], path: Path) -> Check:
    """The Python file, and its weights as safetensors beside it."""
    path.write_text(model.source, encoding="utf-8")
    write_safetensors(model, facts, path.with_suffix(".safetensors"))
    namespace = namespace_of(path.read_text(encoding="utf-8"), path)
    return _compared(model, namespace.load())


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the files' suffixes (the first is the one that a user names), and what writes them."""

    suffixes: tuple[str, ...]
    write: Callable[[Model, Mapping[str, Json], Path], Check]


FORMATS: Mapping[str, Format] = {
    "onnx": Format((".onnx",), write_onnx),
    "pt2": Format((".pt2",), write_pt2),
    "safetensors": Format((".safetensors",), write_safetensors),
    "python": Format((".py", ".safetensors"), write_python),
}


# --- comparing ---------------------------------------------------------------------------------------


def _compared(model: Model, predict: Callable[[Tensor], Tensor]) -> Check:
    """Compare with evolver's network on samples such as it was trained on. Raises CheckFailed."""
    largest = 0.0
    for size in BATCHES:
        x = _samples(model, size)
        with torch.inference_mode():
            expected = model.reference(x)
        with torch.no_grad():
            found = predict(x)
        if found.shape != expected.shape:
            raise CheckFailed(
                f"for a batch of {size} it gives {tuple(found.shape)}, not {tuple(expected.shape)}"
            )
        scale = max(1.0, expected.abs().max().item())
        difference = (found - expected).abs().max().item() / scale
        if not difference <= TOLERANCE:  # NaN fails as well
            raise CheckFailed(
                f"for a batch of {size} its logits differ from those of evolver's network by "
                f"{difference:.1e} of the largest; {TOLERANCE:.0e} is tolerated"
            )
        largest = max(largest, difference)
    return {"batches": list(BATCHES), "largest_difference": largest, "tolerance": TOLERANCE}


def _samples(model: Model, number: int) -> Tensor:
    """Random raw samples with the mean and deviation of the data set, the same for the same number."""
    shape = model.subject.plan.sample.shape
    noise = torch.randn(number, *shape, generator=torch.Generator().manual_seed(number))
    constants = (torch.tensor(one).view(-1, *(1,) * (len(shape) - 1)) for one in (model.mean, model.std))
    mean, std = constants
    return noise * std + mean


def _dynamic() -> dict[str, Any]:
    return {"x": {0: torch.export.Dim(BATCH)}}


@contextmanager
def _converting(what: str) -> Iterator[None]:
    """Turn whatever a converter raises into one line, and keep its warnings to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:  # of any type: torch, onnxscript, protobuf, onnxruntime
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CheckFailed(f"the network cannot be converted to {what}: {reason}") from error
