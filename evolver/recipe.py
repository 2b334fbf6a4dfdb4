"""Training recipes: how a network is trained, as data.

A recipe stands in the experiment's row as JSON and is validated before use. Presets: ``paper`` is
MO-ResNet's (arXiv 2505.01313, section 4); ``fast`` reaches the same accuracy in fewer epochs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evolver.errors import InvalidInput, UnknownName
from evolver.validation import first_fault


class Recipe(BaseModel):
    """How a network is trained. Frozen; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "paper"
    epochs: int = Field(default=10, ge=1, lt=2**31)
    batch_size: int = Field(default=64, ge=2)
    """Batch normalisation cannot train on a single sample."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.025, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=3e-4, ge=0)
    schedule: Literal["cosine", "onecycle", "constant"] = "cosine"
    """Over all steps. ``onecycle``: linear up to ``lr`` over ``warmup`` of the steps, then linear to zero."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    augmentation: Literal["dataset", "none"] = "dataset"
    precision: Literal["fp32", "auto"] = "auto"
    """``auto``: bf16 autocast where the hardware has it, and TF32 for what stays fp32 on such a GPU."""
    channels_last: bool = True
    stop_flat: bool = True
    """End a training whose loss does not leave chance (``workers.hopeless`` says when that is)."""
    deterministic: bool = False
    """Bit-equal curves on the same device and build, at some cost in speed."""

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def sha256(self) -> str:
        """Identifies the recipe: equal for equal settings."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


PRESETS: Mapping[str, Recipe] = {
    "paper": Recipe(),
    "fast": Recipe(
        name="fast",
        epochs=5,
        batch_size=64,
        lr=0.1,
        nesterov=True,
        schedule="onecycle",
        warmup=0.25,
        label_smoothing=0.05,
    ),
}


def load(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The preset of this name with some settings replaced.

    Raises UnknownName for the preset, InvalidInput for a setting.
    """
    if name not in PRESETS:
        raise UnknownName("recipe", name, PRESETS)
    return parse({**PRESETS[name].to_json(), **(overrides or {})})


def parse(data: Mapping[str, Any]) -> Recipe:
    """A recipe from JSON. Raises InvalidInput with the first setting that is wrong."""
    try:
        return Recipe.model_validate(dict(data))
    except ValidationError as error:
        fault = first_fault(error)
        if fault.is_unknown:
            raise UnknownName("recipe setting", fault.key, Recipe.model_fields) from error
        raise InvalidInput(f"recipe setting '{fault.key}'{fault.text}") from error
