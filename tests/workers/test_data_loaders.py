"""The loaders, on small files in the real formats."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import io as scipy_io  # type: ignore[import-untyped]
from torchvision import datasets

from evolver.datasets import builtin, describe
from evolver.errors import EnvironmentFault
from evolver.evaluation import DatasetRef
from evolver.space import Sample
from workers.data import base
from workers.data.base import RawDataset, fingerprint, load

GREY = Sample(1, (28, 28), 10)
COLOUR = Sample(3, (32, 32), 10)


def ref(name: str, sample: Sample, train: int, test: int) -> DatasetRef:
    return DatasetRef(1, name, sample, train - 1, 1, test, split_seed=5, sha256=None)


def images(count: int, *shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx(path: Path, array: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """Unsigned bytes in the IDX format: magic number, sizes (big-endian), data."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")]
)
def test_idx_files(tmp_path: Path, name: str, folder: str) -> None:
    raw_folder = tmp_path / folder / "raw"
    raw_folder.mkdir(parents=True)
    train, test = images(7, 28, 28), images(3, 28, 28)
    for part, x in (("train", train), ("t10k", test)):
        write_idx(raw_folder / f"{part}-images-idx3-ubyte", x)
        write_idx(raw_folder / f"{part}-labels-idx1-ubyte", np.arange(len(x), dtype=np.uint8))

    raw = load(ref(name, GREY, 7, 3), tmp_path, False)

    assert np.array_equal(raw.train_x[:, 0], train)
    assert np.array_equal(raw.test_x[:, 0], test)
    assert raw.train_y.tolist() == list(range(7))
    assert raw.train_y.dtype == np.int64


@pytest.mark.parametrize(
    ("name", "source", "label_key", "classes"),
    [("cifar10", datasets.CIFAR10, "labels", 10), ("cifar100", datasets.CIFAR100, "fine_labels", 100)],
)
def test_cifar_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, source: Any, label_key: str, classes: int
) -> None:
    folder = tmp_path / source.base_folder
    folder.mkdir()

    def write(filename: str, content: dict[str, Any]) -> str:
        data = pickle.dumps(content)
        (folder / filename).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def write_batches(published: list[Any], x: Any) -> list[list[str]]:
        parts = zip(published, np.array_split(x, len(published)), strict=True)
        return [
            [file, write(file, {"data": part.reshape(len(part), -1), label_key: [3] * len(part)})]
            for (file, _), part in parts
        ]

    train, test = images(10, 3, 32, 32), images(2, 3, 32, 32)
    monkeypatch.setattr(source, "train_list", write_batches(source.train_list, train))
    monkeypatch.setattr(source, "test_list", write_batches(source.test_list, test))
    names = {source.meta["key"]: [str(label) for label in range(classes)]}
    monkeypatch.setattr(source, "meta", source.meta | {"md5": write(source.meta["filename"], names)})

    raw = load(ref(name, Sample(3, (32, 32), classes), 10, 2), tmp_path, False)

    assert np.array_equal(raw.train_x, train)
    assert np.array_equal(raw.test_x, test)
    assert raw.test_y.tolist() == [3, 3]


def test_cifar_that_was_tampered_with_is_not_unpickled(tmp_path: Path) -> None:
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()
    for file, _ in [*datasets.CIFAR10.train_list, *datasets.CIFAR10.test_list]:
        (folder / file).write_bytes(b"cbuiltins\nexit\n.")
    with pytest.raises(EnvironmentFault, match="not found or corrupted"):
        load(ref("cifar10", COLOUR, 10, 2), tmp_path, False)


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = dict(datasets.SVHN.split_list)
    parts = {"train": images(4, 3, 32, 32), "test": images(2, 3, 32, 32)}
    for part, x in parts.items():
        path = tmp_path / f"{part}_32x32.mat"
        # The files call the digit zero 10.
        scipy_io.savemat(path, {"X": x.transpose(2, 3, 1, 0), "y": np.array([[10, 1, 2, 9][: len(x)]]).T})
        published[part] = [*published[part][:2], hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", published)

    raw = load(ref("svhn", COLOUR, 4, 2), tmp_path, False)

    assert np.array_equal(raw.train_x, parts["train"])
    assert raw.train_y.tolist() == [0, 1, 2, 9]


def test_digits_are_as_described(tmp_path: Path) -> None:
    info = builtin.DIGITS.info
    assert info is not None
    raw = load(ref("digits", info.sample, info.train_total, info.test), tmp_path, False)
    assert raw.train_x.dtype == np.uint8
    assert raw.train_x.max() == 16
    assert set(raw.test_y.tolist()) == set(range(10))


def test_npz_has_the_hash_of_the_peek(tmp_path: Path) -> None:
    x, y = images(6, 5, 4), np.array([0, 1] * 3)
    np.savez(tmp_path / "own.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    info = describe("npz:own.npz", tmp_path)
    raw = load(ref("npz:own.npz", info.sample, info.train_total, info.test), tmp_path, False)
    assert fingerprint(raw) == info.sha256


def test_image_folder_has_the_hash_of_the_peek(tmp_path: Path) -> None:
    for label in ("left", "right"):
        folder = tmp_path / "shapes" / label
        folder.mkdir(parents=True)
        for index, image in enumerate(images(5, 6, 6, 3)):
            Image.fromarray(image).save(folder / f"{index}.png")
    info = describe("imagefolder:shapes", tmp_path)
    raw = load(ref("imagefolder:shapes", info.sample, info.train_total, info.test), tmp_path, False)
    assert fingerprint(raw) == info.sha256


@pytest.mark.parametrize(
    ("name", "sample", "searched"),
    [
        ("fashion-mnist", GREY, "FashionMNIST/raw"),
        ("cifar10", COLOUR, "cifar-10-batches-py"),
        ("svhn", COLOUR, ""),
    ],
)
def test_missing_data_say_where_and_how(tmp_path: Path, name: str, sample: Sample, searched: str) -> None:
    with pytest.raises(EnvironmentFault) as caught:
        load(ref(name, sample, 10, 2), tmp_path, False)
    message = str(caught.value)
    assert f"dataset '{name}'" in message
    assert str(tmp_path / searched) in message
    assert "--data-dir" in message
    assert "--download" in message


def test_a_truncated_file_is_a_fault_of_the_host(tmp_path: Path) -> None:
    raw_folder = tmp_path / "MNIST" / "raw"
    raw_folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        write_idx(raw_folder / f"{part}-images-idx3-ubyte", images(3, 28, 28))
        (raw_folder / f"{part}-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(EnvironmentFault, match="dataset 'mnist' cannot be read"):
        load(ref("mnist", GREY, 3, 3), tmp_path, False)


def test_missing_own_file_is_a_fault_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=f"no file at {tmp_path}/own.npz"):
        load(ref("npz:own.npz", GREY, 5, 2), tmp_path, False)


def test_other_data_than_expected(tmp_path: Path) -> None:
    with pytest.raises(
        EnvironmentFault, match=r"expects samples of 1×8×8, 10 classes, 9 to train .* 1438 to train"
    ):
        load(ref("digits", Sample(1, (8, 8), 10), 9, 359), tmp_path, False)


BAD_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"classes": 1}, r"it has 1 class\(es\)"),
    ({"train_x": np.zeros((6, 2, 9))}, "train_x is of type float64"),
    ({"train_x": np.full((6, 2, 9), np.nan, np.float32)}, "train_x has values that are not finite"),
    ({"test_x": np.full((2, 2, 9), np.inf, np.float32)}, "test_x has values that are not finite"),
    ({"test_x": np.zeros((2, 2, 8), np.uint8)}, r"test_x uint8 of shape \(2, 8\)"),
    ({"test_x": np.zeros((2, 2, 9), np.float32)}, "test_x float32"),
    ({"train_y": np.zeros(6)}, "train_y is of type float64"),
    ({"train_y": np.zeros(5, np.int64)}, r"train_y is of type int64 and shape \(5,\)"),
    ({"train_y": np.array([0, 1, 2, 3, 1, 0])}, "train_y has the label 3, not 0 … 2"),
    ({"test_y": np.array([0, -1])}, "test_y has the label -1, not 0 … 2"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_ARRAYS)
def test_arrays_of_a_plug_in_that_are_not_as_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    fields: dict[str, Any] = {
        "train_x": np.zeros((6, 2, 9), np.uint8),
        "train_y": np.array([0, 1, 2, 0, 1, 2]),
        "test_x": np.zeros((2, 2, 9), np.uint8),
        "test_y": np.array([0, 2]),
        "classes": 3,
        **changes,
    }
    monkeypatch.setattr(base, "_loader", lambda spec: lambda path, data_dir, download: RawDataset(**fields))
    load.cache_clear()
    with pytest.raises(EnvironmentFault, match=f"dataset 'digits': .*{message}"):
        load(ref("digits", Sample(2, (9,), fields["classes"]), 6, 2), tmp_path, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.full((6, 5, 4), np.nan)}, "not a finite float32 number, in sample 0"),
        ({"y_train": np.zeros(6, np.int64)}, "at least 2"),
        ({"y_train": np.zeros(6)}, "labels must be the integers"),
        ({"y_test": np.array([0, 5])}, "y_test has the label 5"),
    ],
)
def test_a_bad_file_is_a_fault_of_the_host(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    x, y = images(6, 5, 4), np.array([0, 1] * 3)
    np.savez(
        tmp_path / "own.npz", **({"x_train": x, "y_train": y, "x_test": x[:2], "y_test": y[:2]} | changes)
    )
    with pytest.raises(EnvironmentFault, match=message):
        load(ref("npz:own.npz", Sample(1, (5, 4), 2), 6, 2), tmp_path, False)


def test_unknown_plug_in_is_a_fault_of_the_host(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="dataset 'cifar11' is not usable here"):
        load(ref("cifar11", COLOUR, 9, 3), tmp_path, False)


def test_a_download_that_fails_is_not_told_to_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(self: datasets.MNIST) -> None:
        raise RuntimeError("no route to host\n")

    monkeypatch.setattr(datasets.MNIST, "download", download)
    with pytest.raises(EnvironmentFault, match=r"\(no route to host\): point --data-dir at .* holds it$"):
        load(ref("mnist", GREY, 3, 3), tmp_path, download=True)


def test_downloads_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def download(self: datasets.MNIST) -> None:
        asked.append(Path(self.root))

    monkeypatch.setattr(datasets.MNIST, "download", download)
    for allowed, expected in ((False, []), (True, [tmp_path])):
        with pytest.raises(EnvironmentFault):
            load(ref("mnist", GREY, 5, 2), tmp_path, allowed)
        assert asked == expected


def test_a_process_reads_its_data_once(tmp_path: Path) -> None:
    info = builtin.DIGITS.info
    assert info is not None
    digits = ref("digits", info.sample, info.train_total, info.test)
    assert load(digits, tmp_path, False) is load(digits, tmp_path, False)
