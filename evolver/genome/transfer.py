"""A network for data of another shape: stem and output are adapted, all between them stays as it is.

So MO-ResNet (arXiv 2505.01313) brings genomes of one data set to another one. The rules stand here and
nowhere else:

- The stem brings samples to the size that the genome was found for, so that blocks and dense layers keep
  their sizes and parameters. Samples that are twice as large or more are taken in by a stride, of at most
  ``MAX_STRIDE``, with a kernel that sees every value. What the stride does not reach is resized before it:
  even larger samples down, samples that are smaller up.
- Other channels change the convolution of the stem. They are not first brought to the channels of the
  source: one of grey would throw the colours of the target away.
- The output layer has as many values as the target has classes.

adapt         the plan of a network for samples of another shape.
windows       of which values resizing takes the means first.
kept_parts    the parts of the adapted network that are those of the source.
"""

from __future__ import annotations

from dataclasses import replace

from evolver.errors import InvalidInput
from evolver.genome.plan import NetworkPlan
from evolver.space import Sample

MAX_STRIDE = 4
"""That of the stems of ResNet and ConvNeXt. A larger one needs a kernel whose weights outnumber a small
network's; beyond it, a sample has more detail than the resolution of the source can use."""


def adapt(source: NetworkPlan, sample: Sample) -> NetworkPlan:
    """The network of ``source`` for samples of another shape or with other classes.

    Raises InvalidInput for samples of another number of dimensions: no stem makes images of series.
    """
    require_same_kind(source.sample, sample)
    sizes = source.stem.spatial
    stride = max(1, min(MAX_STRIDE, *(n // size for n, size in zip(sample.spatial, sizes, strict=True))))
    taken_in = tuple(stride * size for size in sizes)
    return replace(
        source,
        sample=sample,
        resize=None if sample.spatial == taken_in else taken_in,
        stem=replace(
            source.stem,
            in_channels=sample.channels,
            kernel=max(source.stem.kernel, 2 * stride - 1),
            stride=stride,
        ),
        output=replace(source.output, out_features=sample.classes),
    )


def windows(spatial: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    """Along each axis, how many values resizing to ``to`` brings to their mean before it interpolates."""
    return tuple(max(1, size // wanted) for size, wanted in zip(spatial, to, strict=True))


def kept_parts(source: NetworkPlan, adapted: NetworkPlan) -> tuple[str, ...]:
    """The parts whose weights can be taken over: never the output, whose classes mean something else."""
    return ("stem", "blocks", "hidden") if adapted.stem == source.stem else ("blocks", "hidden")


def require_same_kind(source: Sample, target: Sample) -> None:
    """Raises InvalidInput when one is of images and the other of series."""
    if len(source.spatial) != len(target.spatial):
        raise InvalidInput(
            f"the genomes were found on {_kind(source)}, and these data are {_kind(target)}: "
            "give a data set of the same kind"
        )


def _kind(sample: Sample) -> str:
    size = "×".join(map(str, sample.spatial))
    return f"images of {size}" if len(sample.spatial) == 2 else f"series of length {size}"
