"""What bad data and bad recipes get from the commands that make a search: one line, and nothing made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.helpers import refused

COMMANDS = [["new"], ["run"], ["run", "--workers", "0"]]
OPTIONS = ["demo", "--space", "tiny", "--data-dir", "."]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.ones((count, 8, 8), np.float32)


def ragged(count: int) -> np.ndarray[Any, np.dtype[np.object_]]:
    images = np.empty(count, object)
    images[:] = [np.ones((8, 8 + index % 2), np.uint8) for index in range(count)]
    return images


def nan_in(sample: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    images = pixels(count)
    images[sample, 0, 0] = np.nan
    return images


BAD_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"x_train": ragged(100)}, "samples of one size"),
    ({"x_train": nan_in(7, 100)}, "not a finite float32 number, in sample 7"),
    ({"x_test": nan_in(3, 20)}, "x_test in pets.npz has a value that is not a finite"),
    ({"y_train": np.zeros(100, np.int64)}, "1 class(es); a classifier needs at least 2"),
    ({"y_train": np.arange(100) % 2 + 1}, "number the classes 0 … classes - 1"),
    ({"y_train": np.arange(100) % 2 - 1}, "has the label -1"),
    ({"y_test": np.arange(20)}, "y_test has the label 19, but y_train only 0 … 1"),
    ({"y_train": np.arange(100) % 2 / 2}, "of type float64; labels must be the integers"),
    ({"y_train": np.array(["cat", "dog"] * 50)}, "of type <U3; labels must be the integers"),
    ({"x_train": pixels(70), "y_train": np.arange(70) % 2}, "56 samples are left to train on, fewer than a"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS, ids=[message for _, message in BAD_ARRAYS])
def test_arrays(directory: Path, command: list[str], changes: dict[str, Any], message: str) -> None:
    arrays = {
        "x_train": pixels(100),
        "y_train": np.arange(100) % 2,
        "x_test": pixels(20),
        "y_test": np.arange(20) % 2,
        **changes,
    }
    np.savez(directory / "pets.npz", **arrays)
    assert message in refused(*command, *OPTIONS, "--dataset", "npz:pets.npz")
    assert [path.name for path in directory.iterdir()] == ["pets.npz"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"cat": (8, 8), "dog": (9, 8)}, "is 8×8 grey, but pets/dog/0.png is 9×8 grey"),
        ({"cat": (8, 8)}, "has 1 class(es)"),
    ],
)
def test_images(directory: Path, command: list[str], sizes: dict[str, tuple[int, int]], message: str) -> None:
    for name, size in sizes.items():
        (directory / "pets" / name).mkdir(parents=True)
        for index in range(2):
            Image.new("L", size).save(directory / "pets" / name / f"{index}.png")
    assert message in refused(*command, *OPTIONS, "--dataset", "imagefolder:pets")
    assert [path.name for path in directory.iterdir()] == ["pets"]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("momentun = 0.5", "unknown recipe setting 'momentun'; did you mean momentum"),
        ("lr = 0", "recipe setting 'lr' must be greater than 0, not 0"),
        ("lr = -0.1", "recipe setting 'lr' must be greater than 0, not -0.1"),
        ("lr = nan", "recipe setting 'lr' must be a finite number"),
        ("batch_size = 0", "recipe setting 'batch_size' must be at least 2, not 0"),
        ("batch_size = 5000", "fewer than a batch of 5000"),
    ],
)
def test_recipes(directory: Path, command: list[str], setting: str, message: str) -> None:
    (directory / "demo.toml").write_text(f"[recipe_settings]\n{setting}\n")
    assert message in refused(*command, "demo", "--config", "demo.toml")
    assert [path.name for path in directory.iterdir()] == ["demo.toml"]


@pytest.mark.parametrize("command", ["run", "worker"])
def test_a_device_that_is_not_there(directory: Path, command: str) -> None:
    assert "cuda:77 is not here; this machine has: cpu" in refused(command, "demo", "--device", "cuda:77")
    assert list(directory.iterdir()) == []
