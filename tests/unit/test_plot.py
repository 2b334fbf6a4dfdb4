"""The picture of a front."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from evolver.errors import InvalidInput, UnknownName
from evolver.plot import FrontPicture, axes_of, plot_front
from evolver.store.facts import GenomeFact


def _genome(genome_id: int, error: float, params: int) -> GenomeFact:
    return GenomeFact(
        genome_id=genome_id,
        birth=genome_id,
        operator="random",
        params=params,
        flops=2 * params,
        duplicate_of=None,
        state="done",
        failure_kind=None,
        ingest_no=genome_id,
        objectives={"error": error},
        other_values={"loss": 2 * error},
    )


GENOMES = [_genome(1, 0.1, 9_000), _genome(2, 0.2, 1_000), _genome(3, 0.3, 5_000)]


def _picture(x: str = "error", y: str = "params") -> FrontPicture:
    return FrontPicture("demo", "digits", x, y, GENOMES[:2], GENOMES)


@pytest.mark.parametrize(("x", "y"), [("error", "params"), ("loss", "error"), ("flops", "loss")])
def test_a_picture_is_written(tmp_path: Path, x: str, y: str) -> None:
    plot_front(_picture(x, y), tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as image:
        assert image.size == (1125, 750)


def test_a_vector_picture_names_what_is_on_it(tmp_path: Path) -> None:
    plot_front(_picture(), tmp_path / "front.svg")
    text = (tmp_path / "front.svg").read_text()
    labels = ("validation error (1 − accuracy)", "params (trainable parameters)")
    for part in ("demo on digits", "front (2)", "dominated (1)", *labels):
        assert f"<!-- {part} -->" in text


def test_axes() -> None:
    assert axes_of(["error", "loss", "params"]) == ("error", "loss")
    assert axes_of(["error"]) == ("error", "params")
    assert axes_of(["error", "loss"], y="error") == ("loss", "error")
    assert axes_of(["error", "loss"], x="flops", y="loss") == ("flops", "loss")


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no evaluated genome"):
        plot_front(FrontPicture("demo", "digits", "error", "loss", [], []), tmp_path / "x.png")
    with pytest.raises(UnknownName, match="did you mean error"):
        plot_front(_picture(x="errors"), tmp_path / "x.png")
    with pytest.raises(InvalidInput, match="No such file"):
        plot_front(_picture(), tmp_path / "missing" / "x.png")
    for name in ("x.xyz", "x"):
        with pytest.raises(InvalidInput, match=r"one of the formats \.png, \.svg, \.pdf"):
            plot_front(_picture(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []
