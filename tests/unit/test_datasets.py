"""The built-in data sets, and the readers of the user's own files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evolver.datasets import builtin, describe, parse_argument
from evolver.datasets.files import (
    RawDataset,
    fingerprint,
    held_out,
    peek_image_folder,
    peek_npz,
    read_image_folder,
    read_npz,
)
from evolver.datasets.spec import DatasetSpec
from evolver.errors import InvalidInput
from evolver.space import Sample

BUILTIN = [value for value in vars(builtin).values() if isinstance(value, DatasetSpec)]


def arrays(**changes: Any) -> dict[str, Any]:
    """A valid .npz file's arrays, 6 and 4 grey images of 5×4 in two classes, with some replaced."""
    rng = np.random.default_rng(3)
    return {
        "x_train": rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "y_train": np.array([0, 1, 0, 1, 0, 1]),
        "x_test": rng.integers(0, 256, (4, 5, 4), dtype=np.uint8),
        "y_test": np.array([1, 0, 1, 0]),
    } | changes


def npz_file(folder: Path, **changes: Any) -> Path:
    path = folder / "data.npz"
    np.savez(path, **arrays(**changes))
    return path


def save_image(path: Path, value: int, size: tuple[int, int] = (4, 3), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(mode)).save(path)


class TestBuiltin:
    @pytest.mark.parametrize("spec", BUILTIN, ids=lambda spec: spec.name)
    def test_is_registered_under_its_name(self, spec: DatasetSpec) -> None:
        path = "some/path" if spec.takes_path else None
        assert parse_argument(f"{spec.name}:{path}" if path else spec.name) == (spec, path)

    def test_needs_no_torch(self) -> None:
        code = "import sys, evolver.datasets.builtin; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_augments_only_where_classes_survive_it(self) -> None:
        names = {spec.name: spec.augmentation for spec in BUILTIN}
        assert names["cifar10"] == ("crop", "flip", "cutout")
        assert names["mnist"] == names["svhn"] == ("crop",)
        assert names["digits"] == ()


class TestHeldOut:
    def test_takes_a_fifth_of_each_class_always_the_same(self) -> None:
        labels = np.repeat([0, 1, 2], [10, 20, 5])
        mask = held_out(labels)
        assert np.bincount(labels[mask]).tolist() == [2, 4, 1]
        assert np.array_equal(mask, held_out(labels))

    def test_leaves_one_of_two(self) -> None:
        assert held_out(np.array([0, 0, 1, 1])).sum() == 2


class TestFingerprint:
    raw = RawDataset(
        np.zeros((3, 1, 2, 2), np.uint8),
        np.array([0, 1, 0]),
        np.ones((1, 1, 2, 2), np.uint8),
        np.array([1]),
        2,
    )

    def test_does_not_depend_on_memory_layout(self) -> None:
        strided = RawDataset(
            np.zeros((3, 2, 2, 1), np.uint8).transpose(0, 3, 1, 2),
            self.raw.train_y,
            self.raw.test_x,
            self.raw.test_y.astype(">i8"),
            2,
        )
        assert fingerprint(strided) == fingerprint(self.raw)

    @pytest.mark.parametrize(
        ("train_x", "train_y"),
        [
            (np.zeros((3, 1, 4, 1), np.uint8), np.array([0, 1, 0])),
            (np.zeros((3, 1, 2, 2), np.float32), np.array([0, 1, 0])),
            (np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1, 1])),
        ],
        ids=["shape", "type", "contents"],
    )
    def test_differs_with(self, train_x: Any, train_y: Any) -> None:
        other = RawDataset(train_x, train_y, self.raw.test_x, self.raw.test_y, 2)
        assert fingerprint(other) != fingerprint(self.raw)


class TestNpz:
    def test_peek_tells_shape_counts_and_hash(self, tmp_path: Path) -> None:
        path = npz_file(tmp_path)
        info = peek_npz(path)
        assert (info.sample, info.train_total, info.test) == (Sample(1, (5, 4), 2), 6, 4)
        assert info.sha256 == fingerprint(read_npz(path))

    def test_is_found_relative_to_the_data_directory(self, tmp_path: Path) -> None:
        npz_file(tmp_path)
        assert describe("npz:data.npz", tmp_path) == peek_npz(tmp_path / "data.npz")

    @pytest.mark.parametrize(
        ("shape", "layout", "expected"),
        [
            ((5, 4), None, (1, 5, 4)),
            ((5, 4), "NCL", (5, 4)),
            ((3, 5, 4), None, (3, 5, 4)),
            ((5, 4, 3), None, (3, 5, 4)),
            ((5, 4, 1), None, (1, 5, 4)),
            ((1, 5, 3), None, (1, 5, 3)),
            ((1, 5, 3), "NHWC", (3, 1, 5)),
            ((5, 4, 3), "NCHW", (5, 4, 3)),
        ],
    )
    def test_layouts(
        self, tmp_path: Path, shape: tuple[int, ...], layout: str | None, expected: tuple[int, ...]
    ) -> None:
        images = {name: np.zeros((n, *shape), np.uint8) for name, n in (("x_train", 6), ("x_test", 4))}
        raw = read_npz(npz_file(tmp_path, **images, **({"layout": layout} if layout else {})))
        assert raw.train_x.shape == (6, *expected)
        assert raw.sample.shape == expected

    def test_channels_keep_their_pixels(self, tmp_path: Path) -> None:
        x = np.arange(6 * 5 * 4 * 3, dtype=np.float64).reshape(6, 5, 4, 3)
        raw = read_npz(npz_file(tmp_path, x_train=x, x_test=x[:4]))
        assert raw.train_x.dtype == np.float32
        assert np.array_equal(raw.train_x[2, 1], x[2, :, :, 1])

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"x_train": np.zeros((6, 20), np.uint8)}, r"shape \(6, 20\); expected"),
            ({"x_train": np.zeros((6, 5, 4), np.int32)}, "type int32; expected uint8"),
            ({"x_train": np.full((6, 5, 4), np.nan)}, "x_train in .* not a finite .* in sample 0"),
            ({"x_train": np.full((6, 5, 4), 1e300)}, "not a finite float32"),
            ({"x_train": np.zeros((0, 5, 4), np.uint8)}, "x_train in .* is empty"),
            ({"x_test": np.zeros((0, 5, 4), np.uint8)}, "x_test in .* is empty"),
            ({"x_test": np.zeros((4, 5, 5), np.uint8)}, "those of x_test"),
            ({"x_test": np.zeros((4, 5, 4), np.float32)}, "those of x_test float32"),
            ({"layout": "HWN"}, "layout in .* is 'HWN'; expected one of NHW"),
            ({"layout": "NCHW"}, "not of layout NCHW"),
            ({"y_train": np.zeros(6)}, "labels must be the integers"),
            ({"y_train": np.zeros((6, 2), np.int64)}, "expected one label for each sample"),
            ({"y_train": np.array([0, 1, 0, 1, 0])}, "6 samples, but y_train has 5"),
            ({"y_train": np.array([0, 1, 0, 1, 0, -1])}, "has the label -1"),
            ({"y_train": np.array([1, 2, 1, 2, 1, 2])}, "without gaps"),
            ({"y_train": np.zeros(6, np.int64)}, "at least 2"),
            ({"y_test": np.array([0, 1, 0, 2])}, "y_test has the label 2"),
            ({"y_test": np.array([None] * 4)}, "cannot be read as an .npz file of plain arrays"),
        ],
    )
    def test_refuses(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            read_npz(npz_file(tmp_path, **changes))

    def test_refuses_images_of_various_sizes(self, tmp_path: Path) -> None:
        images = np.empty(6, object)
        images[:] = [np.zeros((5, 4 + index), np.uint8) for index in range(6)]
        with pytest.raises(InvalidInput, match=r"plain arrays \(samples of one size, .* Object arrays"):
            read_npz(npz_file(tmp_path, x_train=images))

    def test_refuses_other_names_and_lists_both(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "data.npz", images=np.zeros(3), y_train=np.zeros(3))
        with pytest.raises(
            InvalidInput, match=r"lacks x_train, x_test, y_test; expected .* found images, y_train"
        ):
            read_npz(tmp_path / "data.npz")

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=f"no file at {tmp_path}/none.npz"):
            describe("npz:none.npz", tmp_path)

    def test_refuses_a_truncated_file(self, tmp_path: Path) -> None:
        path = npz_file(tmp_path)
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(InvalidInput, match=r"cannot be read as an \.npz file"):
            read_npz(path)

    def test_refuses_a_single_array(self, tmp_path: Path) -> None:
        np.save(tmp_path / "data.npy", np.zeros(3))
        with pytest.raises(InvalidInput, match="holds a single array"):
            read_npz(tmp_path / "data.npy")


class TestImageFolder:
    def test_parts_keep_order_and_labels(self, tmp_path: Path) -> None:
        for part, names in (("train", "ab"), ("test", "c")):
            for label, animal in enumerate(("cat", "dog")):
                for index, name in enumerate(names):
                    save_image(tmp_path / part / animal / f"{name}.png", 10 * label + index)
        (tmp_path / "train" / "cat" / "notes.txt").write_text("not an image")
        raw = read_image_folder(tmp_path)
        assert raw.train_x.shape == (4, 1, 3, 4)
        assert raw.train_x[:, 0, 0, 0].tolist() == [0, 1, 10, 11]
        assert raw.train_y.tolist() == [0, 0, 1, 1]
        assert raw.test_y.tolist() == [0, 1]

    def test_without_parts_is_split(self, tmp_path: Path) -> None:
        for animal in ("cat", "dog"):
            for index in range(10):
                save_image(tmp_path / "pets" / animal / f"{index}.png", index, mode="RGB")
        info = describe("imagefolder:pets", tmp_path)
        assert (info.sample, info.train_total, info.test) == (Sample(3, (3, 4), 2), 16, 4)
        assert info.sha256 == fingerprint(read_image_folder(tmp_path / "pets"))

    def test_transparency_and_palettes_become_plain_colour(self, tmp_path: Path) -> None:
        for animal in ("cat", "dog"):
            save_image(tmp_path / animal / "0.png", 7, mode="RGBA")
            save_image(tmp_path / animal / "1.png", 7, mode="RGB")
        assert read_image_folder(tmp_path).train_x.shape == (2, 3, 3, 4)

    def test_refuses_two_sizes_and_names_both_images(self, tmp_path: Path) -> None:
        for animal, size in (("cat", (4, 3)), ("dog", (5, 3))):
            for index in range(2):
                save_image(tmp_path / animal / f"{index}.png", 0, size)
        with pytest.raises(
            InvalidInput, match=r"cat/0.png is 4×3 grey, but .*dog/0.png is 5×3 grey: bring all"
        ):
            read_image_folder(tmp_path)

    def test_refuses_grey_among_colour(self, tmp_path: Path) -> None:
        for animal, mode in (("cat", "RGB"), ("dog", "L")):
            for index in range(2):
                save_image(tmp_path / animal / f"{index}.png", 0, mode=mode)
        with pytest.raises(InvalidInput, match=r"is 4×3 colour, but .* is 4×3 grey"):
            read_image_folder(tmp_path)

    def test_refuses_sixteen_bits(self, tmp_path: Path) -> None:
        for name in ("cat/0", "cat/1", "dog/0", "dog/1"):
            save_image(tmp_path / f"{name}.png", 0, mode="I;16")
        with pytest.raises(InvalidInput, match="convert it to 8-bit"):
            read_image_folder(tmp_path)

    def test_refuses_a_broken_image(self, tmp_path: Path) -> None:
        for name in ("cat/0", "cat/1", "dog/0", "dog/1"):
            save_image(tmp_path / f"{name}.png", 0)
        broken = tmp_path / "dog" / "1.png"
        broken.write_bytes(broken.read_bytes()[:40])
        with pytest.raises(InvalidInput, match=r"dog/1.png cannot be read as an image"):
            read_image_folder(tmp_path)

    @pytest.mark.parametrize(
        ("images", "message"),
        [
            ([], "has 0 class"),
            (["cat/0.png", "cat/1.png"], r"has 1 class.*needs at least 2"),
            (["cat/0.png", "cat/1.png", "dog/0.png"], "dog holds 1 images; expected at least 2"),
            (["train/cat/0.png", "train/dog/0.png"], "needs both train/ and test/"),
            (
                ["train/cat/0.png", "train/dog/0.txt", "test/cat/0.png", "test/dog/0.png"],
                "dog holds 0 images",
            ),
            (
                ["train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/hen/0.png"],
                "hen is a class that .*train does not have",
            ),
            (
                ["train/cat/0.png", "train/dog/0.png", "test/cat/0.txt", "test/dog/0.txt"],
                "test holds no images",
            ),
        ],
    )
    def test_refuses_a_layout(self, tmp_path: Path, images: list[str], message: str) -> None:
        for name in images:
            path = tmp_path / name
            if path.suffix == ".png":
                save_image(path, 0)
            else:
                path.parent.mkdir(parents=True)
                path.touch()
        with pytest.raises(InvalidInput, match=message):
            read_image_folder(tmp_path)

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=f"no folder at {tmp_path}/none"):
            peek_image_folder(tmp_path / "none")
