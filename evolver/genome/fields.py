"""The numeric fields of genes: their ranges, how they are drawn and how they are rounded.

Sampling, operators, repair and validation treat all kinds of genes alike, field by field. Uniform
numbers in [0, 1) come in bulk and are plain floats: one call of numpy for each field of a genome of
thirty genes would take longer than all the rest of breeding.

IntegerField  an integer in a closed range.
RealField     a real in a closed range, kept to 1e-6.
ChoiceField   one of a few integers.
GeneFields    the fields of each kind of gene.
uniforms      a source of uniform numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.random import Generator

from evolver.genome.code import BlockGene, ConvGene, DenseGene, Gene, PoolGene

REAL_DECIMALS = 6

Draw = Callable[[], float]
"""Gives the next uniform number in [0, 1)."""

AnyGene = TypeVar("AnyGene", ConvGene, PoolGene, DenseGene, BlockGene)


def uniforms(rng: Generator, count: int) -> Draw:
    """A source of at most ``count`` uniform numbers. All of them are drawn now, used or not."""
    numbers: list[float] = rng.random(count).tolist()
    return iter(numbers).__next__


@dataclass(frozen=True, slots=True)
class IntegerField:
    """An integer between ``low`` and ``high``, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def draw(self, u: float) -> int:
        """The value at the uniform number ``u``."""
        return self.low + int(u * (self.high - self.low + 1))

    def snap(self, value: float) -> int:
        """The allowed value nearest to ``value``."""
        return min(max(round(value), self.low), self.high)

    def accepts(self, value: object) -> bool:
        """Whether the value is allowed."""
        return type(value) is int and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class RealField:
    """A real between ``low`` and ``high``, both included, kept to 1e-6."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"a real from {self.low} to {self.high} in steps of 1e-6"

    def draw(self, u: float) -> float:
        """The value at the uniform number ``u``."""
        return self.snap(self.low + u * (self.high - self.low))

    def snap(self, value: float) -> float:
        """The allowed value nearest to ``value``."""
        # Adding zero turns -0.0 into 0.0, which some databases do not tell apart.
        return min(max(round(value, REAL_DECIMALS), self.low), self.high) + 0.0

    def accepts(self, value: object) -> bool:
        """Whether the value is allowed."""
        return (
            type(value) is float and self.low <= value <= self.high and round(value, REAL_DECIMALS) == value
        )


@dataclass(frozen=True, slots=True)
class ChoiceField:
    """One of the integers ``choices``, ascending."""

    choices: tuple[int, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.choices))}"

    @property
    def low(self) -> int:
        """The least choice."""
        return self.choices[0]

    @property
    def high(self) -> int:
        """The greatest choice."""
        return self.choices[-1]

    def draw(self, u: float) -> int:
        """The choice at the uniform number ``u``."""
        return self.choices[int(u * len(self.choices))]

    def snap(self, value: float) -> int:
        """The choice nearest to ``value``."""
        return min(self.choices, key=lambda choice: abs(choice - value))

    def accepts(self, value: object) -> bool:
        """Whether the value is allowed."""
        return type(value) is int and value in self.choices


Field = IntegerField | RealField | ChoiceField


@dataclass(frozen=True, slots=True)
class GeneFields:
    """The fields of each kind of gene, in the order of its ``values``."""

    conv: tuple[Field, ...]
    pool: tuple[Field, ...]
    dense: tuple[Field, ...]

    def of(self, gene: Gene) -> tuple[Field, ...]:
        """The fields of this gene's kind."""
        if isinstance(gene, ConvGene):
            return self.conv
        return self.pool if isinstance(gene, PoolGene) else self.dense

    def draw_conv(self, draw: Draw) -> ConvGene:
        """A random convolution gene."""
        return ConvGene(*_drawn(self.conv, draw))

    def draw_pool(self, draw: Draw) -> PoolGene:
        """A random pooling gene."""
        return PoolGene(*_drawn(self.pool, draw))

    def draw_dense(self, draw: Draw) -> DenseGene:
        """A random dense gene."""
        return DenseGene(*_drawn(self.dense, draw))

    def snap(self, gene: AnyGene) -> AnyGene:
        """The allowed gene nearest to this one."""
        return rebuilt(gene, (f.snap(value) for f, value in zip(self.of(gene), gene.values, strict=True)))


def rebuilt(gene: AnyGene, values: Iterable[Any]) -> AnyGene:
    """A gene of the same kind with other values."""
    return type(gene)(*values)


def _drawn(fields: tuple[Field, ...], draw: Draw) -> list[Any]:
    return [field.draw(draw()) for field in fields]
