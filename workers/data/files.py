"""The loaders of ``npz`` and ``imagefolder``: the control plane's readers, in the training process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evolver.datasets.files import read_image_folder, read_npz
from evolver.errors import EnvironmentFault, InvalidInput
from workers.data.base import RawDataset


def npz(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """The arrays of the file at ``path`` under ``data_dir``."""
    return _read(read_npz, path, data_dir)


def image_folder(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """The images of the folder at ``path`` under ``data_dir``."""
    return _read(read_image_folder, path, data_dir)


def _read(reader: Callable[[Path], RawDataset], path: str | None, data_dir: Path) -> RawDataset:
    if path is None:
        raise EnvironmentFault("this dataset needs a path: NAME:PATH")
    try:
        return reader(data_dir / path)
    except InvalidInput as error:
        # It was readable where the experiment was made, so this machine is at fault, not the user's input.
        raise EnvironmentFault(str(error)) from error
