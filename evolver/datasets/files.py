"""Data sets that are the user's own files: an ``.npz`` file or a folder of images.

Both planes read them here: the control plane to learn shape, counts and hash (``peek_…``), the
training process to train on them (``read_…``). NumPy and Pillow only; nothing is unpickled.

RawDataset         the arrays of a data set, whatever it was read from.
fingerprint        the hash that tells two data sets apart.
held_out           a fixed, stratified fifth of the labels, for sets that come without a test part.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evolver.datasets.spec import DatasetInfo
from evolver.errors import InvalidInput
from evolver.space import Sample

Pixels = NDArray[np.uint8] | NDArray[np.float32]
Labels = NDArray[np.int64]

NPZ_ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LAYOUTS = ("NHW", "NCL", "NCHW", "NHWC")
TEST_SHARE = 0.2
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_GREY_MODES = frozenset({"1", "L", "LA"})
_COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
_HELD_OUT_SEED = 0


@dataclass(frozen=True, slots=True, eq=False)
class RawDataset:
    """The arrays of a data set, before its training set is split.

    ``train_x`` and ``test_x`` have shape (N, C, H, W) or (N, C, L), uint8 or finite float32;
    ``train_y`` and ``test_y`` have shape (N,), values 0 … classes - 1.
    """

    train_x: Pixels
    train_y: Labels
    test_x: Pixels
    test_y: Labels
    classes: int

    @property
    def sample(self) -> Sample:
        channels, *spatial = self.train_x.shape[1:]
        return Sample(channels, tuple(spatial), self.classes)


def fingerprint(raw: RawDataset) -> str:
    """The sha256 (hex) over data types, shapes and bytes of the four arrays, the same on every machine."""
    digest = hashlib.sha256()
    for array in (raw.train_x, raw.train_y, raw.test_x, raw.test_y):
        little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        digest.update(f"{little_endian.dtype.str} {little_endian.shape}\n".encode())
        digest.update(little_endian.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def held_out(labels: Labels) -> NDArray[np.bool_]:
    """Which samples are the test part of a set that comes without one: the same fifth of each class, always.

    ``labels`` has shape (N,), at least two samples of each class; so has the mask. Both parts get a
    sample of each class.
    """
    rng = np.random.default_rng(_HELD_OUT_SEED)
    mask = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        mask[members[: max(1, round(len(members) * TEST_SHARE))]] = True
    return mask


def peek_npz(path: Path) -> DatasetInfo:
    """Shape, counts and hash of an ``.npz`` file. Raises InvalidInput as ``read_npz`` does."""
    return _info(f"npz:{path.name}", read_npz(path))


def peek_image_folder(path: Path) -> DatasetInfo:
    """Shape, counts and hash of a folder of images. Raises InvalidInput as ``read_image_folder`` does."""
    return _info(f"imagefolder:{path.name}", read_image_folder(path))


def _info(name: str, raw: RawDataset) -> DatasetInfo:
    return DatasetInfo(name, raw.sample, len(raw.train_y), len(raw.test_y), fingerprint(raw))


def read_npz(path: Path) -> RawDataset:
    """The data set in an ``.npz`` file.

    It holds ``x_train``, ``y_train``, ``x_test`` and ``y_test``. x is uint8, float32 or float64 (read as
    float32); y holds the integers 0 … classes - 1. Four-dimensional x is (N, C, H, W), or (N, H, W, C)
    when the last axis is 1 or 3 and the second is not; three-dimensional x is (N, H, W), one channel. A
    text array ``layout`` of no dimensions says otherwise: NHW, NCL (series), NCHW or NHWC.

    Raises InvalidInput when the file is missing, unreadable, or its arrays do not fit.
    """
    arrays = _open_npz(path)
    layout = _layout(arrays, path)
    raw = RawDataset(
        train_x=_pixels(arrays["x_train"], layout, f"x_train in {path}"),
        train_y=_labels(arrays["y_train"], f"y_train in {path}"),
        test_x=_pixels(arrays["x_test"], layout, f"x_test in {path}"),
        test_y=_labels(arrays["y_test"], f"y_test in {path}"),
        classes=len(np.unique(arrays["y_train"])),
    )
    _check_arrays(raw, path)
    return raw


def _open_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The four arrays, and ``layout`` where there is one. Arrays of other names are not even read."""
    if not path.is_file():
        raise InvalidInput(f"no file at {path.absolute()}: the path after 'npz:' is relative to --data-dir")
    expected = ", ".join(NPZ_ARRAYS)
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InvalidInput(
                f"{path} holds a single array; expected an .npz file with the arrays {expected}"
            )
        with archive:
            missing = [name for name in NPZ_ARRAYS if name not in archive.files]
            if missing:
                raise InvalidInput(
                    f"{path} lacks {', '.join(missing)}; expected the arrays {expected}, "
                    f"found {', '.join(sorted(archive.files)) or 'none'}"
                )
            return {name: archive[name] for name in (*NPZ_ARRAYS, "layout") if name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(
            f"{path} cannot be read as an .npz file of plain arrays (samples of one size, integer labels): "
            f"{error}"
        ) from error


def _layout(arrays: Mapping[str, NDArray[Any]], path: Path) -> str:
    """What the axes of x mean: as the file says, else by the number of axes (see ``read_npz``)."""
    if "layout" in arrays:
        layout = str(arrays["layout"])
        if layout not in LAYOUTS:
            raise InvalidInput(f"layout in {path} is '{layout}'; expected one of {', '.join(LAYOUTS)}")
        return layout
    shape = arrays["x_train"].shape
    if len(shape) == 3:
        return "NHW"
    if len(shape) == 4:
        return "NHWC" if shape[3] in (1, 3) and shape[1] not in (1, 3) else "NCHW"
    raise InvalidInput(
        f"x_train in {path} has shape {shape}; expected (N, C, H, W), (N, H, W, C), (N, H, W), "
        "or (N, C, L) with an array layout = 'NCL'"
    )


def _pixels(x: NDArray[Any], layout: str, where: str) -> Pixels:
    """x as (N, C, *spatial), uint8 or finite float32."""
    if x.ndim != len(layout):
        raise InvalidInput(f"{where} has shape {x.shape}, which is not of layout {layout}")
    if x.size == 0:
        raise InvalidInput(f"{where} is empty: its shape is {x.shape}")
    if x.dtype not in (np.uint8, np.float32, np.float64):
        raise InvalidInput(f"{where} is of type {x.dtype}; expected uint8, float32 or float64")
    if layout == "NHW":
        x = x[:, np.newaxis]
    elif layout == "NHWC":
        x = np.moveaxis(x, -1, 1)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x, np.uint8)
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(x, np.float32)
    finite = np.isfinite(single)
    if not finite.all():
        sample = int(np.argwhere(~finite)[0, 0])
        raise InvalidInput(f"{where} has a value that is not a finite float32 number, in sample {sample}")
    return single


def _labels(y: NDArray[Any], where: str) -> Labels:
    """y as int64, none negative."""
    if y.ndim != 1:
        raise InvalidInput(f"{where} has shape {y.shape}; expected one label for each sample, shape (N,)")
    if y.dtype.kind not in "iu":
        raise InvalidInput(f"{where} is of type {y.dtype}; labels must be the integers 0 … classes - 1")
    labels = y.astype(np.int64)
    if len(labels) and labels.min() < 0:
        raise InvalidInput(
            f"{where} has the label {labels.min()}; labels must be the integers 0 … classes - 1"
        )
    return labels


def _check_arrays(raw: RawDataset, path: Path) -> None:
    for part, x, y in (("train", raw.train_x, raw.train_y), ("test", raw.test_x, raw.test_y)):
        if len(x) != len(y):
            raise InvalidInput(f"{path}: x_{part} has {len(x)} samples, but y_{part} has {len(y)} labels")
    if raw.train_x.shape[1:] != raw.test_x.shape[1:] or raw.train_x.dtype != raw.test_x.dtype:
        raise InvalidInput(
            f"{path}: samples of x_train are {raw.train_x.dtype} of shape {raw.train_x.shape[1:]}, "
            f"those of x_test {raw.test_x.dtype} of shape {raw.test_x.shape[1:]}"
        )
    _require_two_classes(raw.classes, path)
    highest = int(raw.train_y.max())
    if highest >= raw.classes:
        raise InvalidInput(
            f"{path}: y_train has {raw.classes} different labels, the highest is {highest}; "
            "number the classes 0 … classes - 1 without gaps"
        )
    if raw.test_y.max() >= raw.classes:
        raise InvalidInput(
            f"{path}: y_test has the label {raw.test_y.max()}, but y_train only 0 … {raw.classes - 1}"
        )


def _require_two_classes(classes: int, path: Path) -> None:
    if classes < 2:
        raise InvalidInput(f"{path} has {classes} class(es); a classifier needs at least 2")


def read_image_folder(path: Path) -> RawDataset:
    """The data set in a folder of images, as uint8.

    Either ``PATH/train/CLASS/*`` and ``PATH/test/CLASS/*``, or ``PATH/CLASS/*``, of which a fixed
    fifth of each class becomes the test set. Classes are numbered in the order of their names. All
    images have one size and are all grey or all colour (palettes count as colour); transparency is
    dropped.

    Raises InvalidInput when the folder is missing, laid out otherwise, or images do not fit.
    """
    if not path.is_dir():
        raise InvalidInput(
            f"no folder at {path.absolute()}: the path after 'imagefolder:' is relative to --data-dir"
        )
    train, test = path / "train", path / "test"
    if train.is_dir() != test.is_dir():
        raise InvalidInput(f"{path} needs both train/ and test/, or neither and the class folders themselves")
    if train.is_dir():
        return _read_parts(train, test)
    return _read_and_split(path)


def _read_parts(train: Path, test: Path) -> RawDataset:
    classes = _class_names(train)
    unknown = [name for name in _class_names(test) if name not in classes]
    if unknown:
        raise InvalidInput(f"{test / unknown[0]} is a class that {train} does not have")
    train_files, train_y = _labelled_files(train, classes)
    _require_images(train_y, 1, train, classes)
    test_files, test_y = _labelled_files(test, classes)
    if not test_files:
        raise InvalidInput(f"{test} holds no images")
    images = _read_images([*train_files, *test_files])
    return RawDataset(images[: len(train_y)], train_y, images[len(train_y) :], test_y, len(classes))


def _read_and_split(path: Path) -> RawDataset:
    classes = _class_names(path)
    files, labels = _labelled_files(path, classes)
    _require_images(labels, 2, path, classes)
    images, test = _read_images(files), held_out(labels)
    return RawDataset(images[~test], labels[~test], images[test], labels[test], len(classes))


def _class_names(folder: Path) -> list[str]:
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    _require_two_classes(len(names), folder)
    return names


def _labelled_files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], Labels]:
    """The image files of each class in the order of their names, and their labels."""
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(file for file in (folder / name).glob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        files += images
        labels += [label] * len(images)
    return files, np.array(labels, np.int64)


def _require_images(labels: Labels, least: int, folder: Path, classes: Sequence[str]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    poorest = int(counts.argmin())
    if counts[poorest] < least:
        raise InvalidInput(
            f"{folder / classes[poorest]} holds {counts[poorest]} images; expected at least {least}"
        )


def _read_images(files: Sequence[Path]) -> NDArray[np.uint8]:
    """The images as (N, C, H, W). Raises InvalidInput for the first that differs from the first of all."""
    first = _decode(files[0])
    images = np.empty((len(files), *first.shape), np.uint8)
    for index, file in enumerate(files):
        image = _decode(file)
        if image.shape != first.shape:
            raise InvalidInput(
                f"{files[0]} is {_describe_image(first)}, but {file} is {_describe_image(image)}: "
                "bring all images to one size and to either grey or colour first"
            )
        images[index] = image
    return images


def _decode(file: Path) -> NDArray[np.uint8]:
    """One image as (1, H, W) for grey or (3, H, W) for colour."""
    try:
        with Image.open(file) as image:
            if image.mode in _GREY_MODES:
                return np.asarray(image.convert("L"))[np.newaxis]
            if image.mode in _COLOUR_MODES:
                return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
            mode = image.mode
    # Pillow raises SyntaxError for some broken files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidInput(f"{file} cannot be read as an image: {error}") from error
    raise InvalidInput(f"{file} has the pixel mode {mode}; convert it to 8-bit grey or RGB first")


def _describe_image(image: NDArray[np.uint8]) -> str:
    channels, height, width = image.shape
    return f"{width}×{height} {'grey' if channels == 1 else 'colour'}"
