"""The settings of the space of convolutional networks: limits of genomes, rates of operators.

Presets: ``paper`` is MO-ResNet's (arXiv 2505.01313), ``small`` fits one CPU core at 28 x 28 pixels,
``tiny`` is made for images of 8 x 8 pixels that train in a second or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)

from evolver.errors import InvalidInput, UnknownName
from evolver.genome.fields import REAL_DECIMALS, ChoiceField, GeneFields, IntegerField, RealField
from evolver.genome.plan import STEM_CHANNELS
from evolver.space import Json
from evolver.validation import first_fault


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    if not values or list(values) != sorted(values):
        raise ValueError("the values must be in ascending order, and at least one")
    return values


def _in_steps(value: float) -> float:
    if round(value, REAL_DECIMALS) != value:
        raise ValueError("a real gene is kept to 1e-6, and so are its limits")
    return value


_Count = Annotated[StrictInt, Field(ge=0, le=1000)]
_PositiveCount = Annotated[StrictInt, Field(ge=1, le=1000)]
_Size = Annotated[StrictInt, Field(ge=1, le=1_000_000)]
_Real = Annotated[StrictFloat, Field(ge=-1000, le=1000), AfterValidator(_in_steps)]
_Share = Annotated[StrictFloat, Field(ge=0, le=1)]
_Counts = Annotated[tuple[_Count, _Count], AfterValidator(_ascending)]
_PositiveCounts = Annotated[tuple[_PositiveCount, _PositiveCount], AfterValidator(_ascending)]
_Sizes = Annotated[tuple[_Size, _Size], AfterValidator(_ascending)]
_Reals = Annotated[tuple[_Real, _Real], AfterValidator(_ascending)]
_PoolKernels = Annotated[tuple[Annotated[_Size, Field(ge=2)], ...], AfterValidator(_ascending)]


class Bounds(BaseModel):
    """All limits and rates. Frozen; pairs are the least and the greatest value, both allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stem_channels: _Size = STEM_CHANNELS
    """Outputs of the convolution that precedes the blocks; not evolved."""
    blocks: _PositiveCounts = (1, 10)
    max_convs_per_block: _PositiveCount = 3
    """The least is 1: a block starts with a convolution."""
    pools: _Counts = (1, 3)
    """Pooling genes in all blocks together."""
    max_genes: _PositiveCount = 30
    """Convolution and pooling genes in all blocks together."""
    dense_layers: _Counts = (0, 1)

    conv_kernel: _Sizes = (1, 5)
    channels: _Sizes = (3, 128)
    init_mean: _Reals = (-1.0, 1.0)
    init_std: _Reals = (0.0, 1.0)
    pool_kernels: _PoolKernels = (2, 4)
    dense_units: _Sizes = (1000, 2000)

    crossover_probability: _Share = 0.9
    """Of each aligned pair of genes."""
    crossover_eta: Annotated[StrictFloat, Field(ge=0)] = 0.05
    """Distribution index of simulated binary crossover: the greater, the nearer are children to parents."""
    mutation_probability: _Share = 0.2
    """Of a child."""
    gene_mutation_probability: _Share = 0.5
    """Of each gene of a child that is mutated."""
    mutation_eta: Annotated[StrictFloat, Field(ge=0)] = 0.05
    """Distribution index of polynomial mutation."""
    add_share: _Share = 0.33
    """Of the mutated genes: a gene is added before them."""
    remove_share: _Share = 0.33
    """Of the mutated genes: they are removed. The rest is altered."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.blocks[0] + self.pools[0] > self.max_genes:
            raise ValueError(
                f"max_genes is {self.max_genes}, but the fewest blocks and pools need "
                f"{self.blocks[0] + self.pools[0]} genes"
            )
        if self.add_share + self.remove_share > 1:
            raise ValueError(
                f"add_share {self.add_share} and remove_share {self.remove_share} exceed 1 together"
            )
        return self

    def gene_fields(self) -> GeneFields:
        """The range of each field of each kind of gene."""
        return GeneFields(
            conv=(
                IntegerField(*self.conv_kernel),
                IntegerField(*self.channels),
                RealField(*self.init_mean),
                RealField(*self.init_std),
            ),
            pool=(ChoiceField(self.pool_kernels), RealField(0.0, 1.0)),
            dense=(IntegerField(*self.dense_units),),
        )

    def by_mutation(self) -> dict[str, Bounds]:
        """The same bounds with mutations of one kind, by the name of the kind."""
        shares = {"add": (1.0, 0.0), "alter": (0.0, 0.0), "remove": (0.0, 1.0)}
        return {
            kind: self.model_copy(update={"add_share": add, "remove_share": remove})
            for kind, (add, remove) in shares.items()
        }

    def to_json(self) -> dict[str, Json]:
        """All settings as JSON."""
        return self.model_dump(mode="json")


def parse(settings: Mapping[str, Json]) -> Bounds:
    """The bounds of these settings; those that are missing are the paper's.

    Raises UnknownName for an unknown setting, InvalidInput for one that is wrong.
    """
    try:
        return Bounds.model_validate(dict(settings))
    except ValidationError as error:
        fault = first_fault(error)
        if fault.is_unknown:
            raise UnknownName("space setting", fault.key, Bounds.model_fields) from error
        where = f"space setting '{fault.key}'" if fault.key else "space settings"
        raise InvalidInput(f"{where}{fault.text}") from error


PRESETS: Mapping[str, Bounds] = {
    "paper": Bounds(),
    "small": Bounds(
        stem_channels=16,
        blocks=(1, 4),
        max_convs_per_block=2,
        conv_kernel=(1, 3),
        channels=(4, 48),
        dense_units=(64, 256),
    ),
    "tiny": Bounds(
        stem_channels=8,
        blocks=(1, 3),
        max_convs_per_block=2,
        pools=(1, 2),
        conv_kernel=(1, 3),
        channels=(4, 24),
        pool_kernels=(2,),
        dense_units=(16, 64),
    ),
}
