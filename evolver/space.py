"""What the scheduler knows of a genome: the interface of a search space.

A space is a plug-in (entry-point group ``evolver.spaces``). The scheduler, the selectors and the
store handle genomes through this interface only, so that a space of another kind (real vectors,
choices from a table) needs no change to them.

Sample           the shape of one sample of the data set that a genome is decoded for.
Cost             what a genome costs, by arithmetic.
Space            the interface.
HasKnownGenomes  what a space may have beside it: genomes to begin a search with.
HasMutations     what a space may have beside it: mutations of one kind each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, runtime_checkable

if TYPE_CHECKING:  # reading a status needs the types below, and no numpy
    from numpy.random import Generator

G = TypeVar("G")
Json = Any
MUTATION_OF_KIND = "mutation:"
"""Begins the recorded operator of a mutation of one kind; its name follows."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The shape of one sample and the number of classes.

    ``spatial`` is (height, width) for images and (length,) for series.
    """

    channels: int
    spatial: tuple[int, ...]
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Channels first: (C, H, W) or (C, L)."""
        return (self.channels, *self.spatial)

    def to_json(self) -> dict[str, Json]:
        return {"channels": self.channels, "spatial": list(self.spatial), "classes": self.classes}

    @classmethod
    def from_json(cls, data: Mapping[str, Json]) -> Self:
        return cls(int(data["channels"]), tuple(int(n) for n in data["spatial"]), int(data["classes"]))


@dataclass(frozen=True, slots=True)
class Cost:
    """What a genome costs on one sample.

    ``params`` counts trainable parameters; ``flops`` is twice the multiply-adds of convolution and
    linear layers of one forward pass; ``activations`` counts the values that a forward pass keeps
    for the backward pass.
    """

    params: int
    flops: int
    activations: int


class Space(Protocol[G]):
    """Genomes of one kind, with their bounds and operators. Implementations are immutable and pure."""

    @property
    def name(self) -> str:
        """Its name in the entry-point group ``evolver.spaces``."""
        ...

    @property
    def version(self) -> int:
        """Raised whenever the same settings and generator would breed another genome."""
        ...

    @property
    def mutation_probability(self) -> float:
        """How often a child of two parents is mutated as well."""
        ...

    @classmethod
    def from_settings(cls, settings: Mapping[str, Json]) -> Self:
        """The space with these settings. Raises InvalidInput when one is unknown or out of range."""
        ...

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Json]]:
        """Named settings: ``--space NAME`` finds them."""
        ...

    def settings(self) -> dict[str, Json]:
        """All settings as JSON: ``from_settings(space.settings())`` equals the space."""
        ...

    def random(self, rng: Generator) -> G:
        """A random genome within all bounds."""
        ...

    def crossover(self, first: G, second: G, rng: Generator) -> G:
        """One child of two parents, within all bounds; the parents stay as they are."""
        ...

    def mutate(self, genome: G, rng: Generator) -> G:
        """A changed copy, within all bounds; the genome stays as it is."""
        ...

    def validate(self, genome: G) -> None:
        """Raises InvalidGenome when the genome is outside of the bounds."""
        ...

    def phenotype(self, genome: G, sample: Sample) -> str:
        """A hash that two genomes share exactly when they decode to the same network for ``sample``."""
        ...

    def cost(self, genome: G, sample: Sample) -> Cost:
        """What the decoded network costs, by arithmetic."""
        ...

    def to_json(self, genome: G) -> Json:
        """The code as it stands in the database."""
        ...

    def from_json(self, code: Json) -> G:
        """The genome of a code. Raises InvalidGenome when the code is malformed or out of bounds."""
        ...

    def describe(self, genome: G, sample: Sample) -> list[str]:
        """The decoded genome for people, a line for each part."""
        ...


@runtime_checkable
class HasKnownGenomes(Protocol):
    """What a space may offer beside its interface; ``--seed-genomes`` finds the names."""

    def known_genomes(self) -> Mapping[str, Any]:
        """Well-known genomes by name, within all bounds: the same ones for the same settings."""
        ...


@runtime_checkable
class HasMutations(Protocol):
    """What a space may offer beside its interface; where operators are learned, each kind is one."""

    def mutations(self) -> Mapping[str, Callable[[Any, Generator], Any]]:
        """Mutations of one kind each, by name: as ``mutate``, and the same ones for the same settings."""
        ...
