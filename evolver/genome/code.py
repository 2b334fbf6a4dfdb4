"""The genome of a residual convolutional network, and its code in JSON.

A genome is what is bred: blocks of convolution and pooling genes, then dense genes (MO-ResNet,
arXiv 2505.01313). It knows neither its bounds (``bounds``) nor the network that it decodes to (``plan``).
Codes come from a database that anyone may have written to: ``from_json`` believes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from evolver.errors import InvalidGenome
from evolver.space import Json


@dataclass(frozen=True, slots=True)
class ConvGene:
    """A convolution with stride 1 and 'same' padding, batch normalisation and ReLU.

    ``kernel`` is its size in each spatial dimension, ``channels`` counts its outputs. ``init_mean`` and
    ``init_std`` are carried and evolved, but the decoded network does not depend on them: the reference
    initialises its weights after Xavier too.
    """

    kernel: int
    channels: int
    init_mean: float
    init_std: float

    @property
    def values(self) -> tuple[int, int, float, float]:
        """The numeric fields in the order of the constructor."""
        return self.kernel, self.channels, self.init_mean, self.init_std


@dataclass(frozen=True, slots=True)
class PoolGene:
    """A pooling whose stride is its kernel: of maxima where ``type`` is below 0.5, else of averages."""

    kernel: int
    type: float

    @property
    def values(self) -> tuple[int, float]:
        """The numeric fields in the order of the constructor."""
        return self.kernel, self.type


@dataclass(frozen=True, slots=True)
class DenseGene:
    """A hidden dense layer of so many units, with batch normalisation and ReLU."""

    units: int

    @property
    def values(self) -> tuple[int]:
        """The numeric fields in the order of the constructor."""
        return (self.units,)


BlockGene = ConvGene | PoolGene
Gene = ConvGene | PoolGene | DenseGene


@dataclass(frozen=True, slots=True)
class Genome:
    """Residual blocks in the order of the forward pass, then hidden dense layers."""

    blocks: tuple[tuple[BlockGene, ...], ...]
    dense: tuple[DenseGene, ...]


def to_json(genome: Genome) -> Json:
    """The code of a genome, for instance::

    {"blocks": [[{"kind": "conv", "kernel": 3, "channels": 32, "init_mean": 0.1, "init_std": 0.5},
                 {"kind": "pool", "kernel": 2, "type": 0.25}]],
     "dense": [{"kind": "dense", "units": 128}]}
    """
    return {
        "blocks": [[_gene_to_json(gene) for gene in block] for block in genome.blocks],
        "dense": [_gene_to_json(gene) for gene in genome.dense],
    }


def from_json(code: Json) -> Genome:
    """The genome of a code.

    Raises InvalidGenome, with one line that says where, when the code has not exactly the form that
    ``to_json`` writes. Bounds are not looked at.
    """
    _require_keys(code, "the code", {"blocks", "dense"})
    blocks = tuple(
        tuple(
            _gene_from_json(gene, f"blocks[{i}][{j}]", _BLOCK_KINDS)
            for j, gene in enumerate(_require_list(block, f"blocks[{i}]"))
        )
        for i, block in enumerate(_require_list(code["blocks"], "blocks"))
    )
    dense = tuple(
        _gene_from_json(gene, f"dense[{i}]", _DENSE_KINDS)
        for i, gene in enumerate(_require_list(code["dense"], "dense"))
    )
    return Genome(blocks, dense)


_LARGEST_INTEGER = 2**31 - 1
"""Far beyond any bounds; it keeps absurd numbers from being printed or multiplied."""


def _integer(value: Json, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidGenome(f"{where} is of type {type(value).__name__}, not an integer")
    if abs(value) > _LARGEST_INTEGER:
        raise InvalidGenome(f"{where} is an integer of more than 31 bits")
    return value


def _real(value: Json, where: str) -> float:
    # A database may hand 0.0 back as 0.
    real = value if isinstance(value, float) else float(_integer(value, where))
    if not math.isfinite(real):
        raise InvalidGenome(f"{where} is {real}, not a finite number")
    return real


_Reader = Callable[[Json, str], float]
_Kind = tuple[type[Any], Mapping[str, _Reader]]

_CONV: _Kind = (ConvGene, {"kernel": _integer, "channels": _integer, "init_mean": _real, "init_std": _real})
_POOL: _Kind = (PoolGene, {"kernel": _integer, "type": _real})
_DENSE: _Kind = (DenseGene, {"units": _integer})

_BLOCK_KINDS: Mapping[str, _Kind] = {"conv": _CONV, "pool": _POOL}
_DENSE_KINDS: Mapping[str, _Kind] = {"dense": _DENSE}
_KIND_OF = {cls: (kind, tuple(readers)) for kind, (cls, readers) in {**_BLOCK_KINDS, **_DENSE_KINDS}.items()}


def _gene_to_json(gene: Gene) -> dict[str, Json]:
    kind, names = _KIND_OF[type(gene)]
    return {"kind": kind, **dict(zip(names, gene.values, strict=True))}


def _gene_from_json(code: Json, where: str, kinds: Mapping[str, _Kind]) -> Any:
    kind = code.get("kind") if isinstance(code, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidGenome(f"{where} is not an object whose kind is {' or '.join(kinds)}")
    cls, readers = kinds[kind]
    _require_keys(code, where, {"kind", *readers})
    return cls(*(read(code[name], f"{where}.{name}") for name, read in readers.items()))


def _require_list(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise InvalidGenome(f"{where} is of type {type(value).__name__}, not a list")
    return value


def _require_keys(value: Json, where: str, keys: set[str]) -> None:
    # The value itself is not quoted: it may be of any size and depth.
    if not isinstance(value, dict) or set(value) != keys:
        raise InvalidGenome(f"{where} is not an object with exactly the keys {', '.join(sorted(keys))}")
