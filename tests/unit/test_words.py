"""Values, times and counts as people read them."""

from __future__ import annotations

import pytest

from evolver.words import counted, cut, duration, elapsed, label, shown, spread


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("error", 0.0417, "accuracy 95.83 %"),
        ("test_error", 0.01, "test accuracy 99.00 %"),
        ("test_loss", 0.12345, "test loss 0.1235"),
        ("train_s", 1.9012, "train time 1.9 s"),
        ("latency_ms:64", 1.2345, "latency:64 1.23 ms"),
        ("energy_j", 12.345, "energy 12.3 J"),
        ("peak_memory_bytes", 1_234_567.0, "peak memory 1.23 MB"),
        ("s", 1.0, "s 1"),
        ("params", 8574.0, "params 8.57 k"),
        ("loss", None, "loss –"),
    ],
)
def test_values_have_names_and_units(name: str, value: float | None, words: str) -> None:
    assert f"{label(name)} {shown(name, value)}" == words


def test_one_thing_is_not_several() -> None:
    assert [counted(number, "genome") for number in (0, 1, 2)] == [
        "0 genomes",
        "1 genome",
        "2 genomes",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"), (0.2, "0 s"), (45.4, "45 s"), (90.0, "2 min"),
        (5399.0, "90 min"), (11_100.0, "3 h 05 min"), (183_600.0, "2 d 3 h"),
    ],
)  # fmt: skip
def test_a_time_has_the_unit_that_fits_it(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_a_short_time_has_its_fraction() -> None:
    assert [elapsed(seconds) for seconds in (None, 0.213, 9.4, 45.4)] == ["–", "0.21 s", "9.4 s", "45 s"]


def test_several_values_are_their_median_and_quartiles() -> None:
    assert spread("loss", [0.5]) == "0.5"
    assert spread("loss", [1.0, 2.0, 3.0, 4.0, 5.0]) == "3 [2, 4]"
    assert spread("error", [0.1, 0.2, 0.3]) == "80.00 % [75.00 %, 85.00 %]"
    assert spread("error", [0.1, float("nan"), 0.3]) == "–"


def test_a_text_that_was_cut_says_so() -> None:
    assert (cut("genome", 6), cut("genomes", 6)) == ("genome", "genom…")
