"""The built-in data sets, as they stand in the entry-point group ``evolver.datasets``.

Shapes and counts are those that the authors of each set publish. Augmentation follows MO-ResNet
(arXiv 2505.01313, section 4): crops for the MNIST family; crop, flip and cutout for CIFAR. Digits of
house numbers must not be mirrored, so SVHN is only cropped.
"""

from __future__ import annotations

from evolver.datasets.files import peek_image_folder, peek_npz
from evolver.datasets.spec import DatasetInfo, DatasetSpec
from evolver.space import Sample

_GREY_28 = Sample(channels=1, spatial=(28, 28), classes=10)
_COLOUR_32 = Sample(channels=3, spatial=(32, 32), classes=10)

NONE = DatasetSpec(
    name="none",
    title="No data: for evaluators that need none",
    info=DatasetInfo("none", Sample(channels=1, spatial=(1,), classes=1), train_total=0, test=0),
)

DIGITS = DatasetSpec(
    name="digits",
    title="Handwritten digits of scikit-learn, 8×8 grey; a stratified fifth of the 1,797 is the test set",
    loader="workers.data.digits:digits",
    info=DatasetInfo("digits", Sample(channels=1, spatial=(8, 8), classes=10), train_total=1438, test=359),
)

MNIST = DatasetSpec(
    name="mnist",
    title="Handwritten digits, 28×28 grey",
    loader="workers.data.vision:mnist",
    augmentation=("crop",),
    info=DatasetInfo("mnist", _GREY_28, train_total=60_000, test=10_000),
)

FASHION_MNIST = DatasetSpec(
    name="fashion-mnist",
    title="Photographs of clothing, 28×28 grey",
    loader="workers.data.vision:fashion_mnist",
    augmentation=("crop",),
    info=DatasetInfo("fashion-mnist", _GREY_28, train_total=60_000, test=10_000),
)

KMNIST = DatasetSpec(
    name="kmnist",
    title="Cursive Japanese characters, 28×28 grey",
    loader="workers.data.vision:kmnist",
    augmentation=("crop",),
    info=DatasetInfo("kmnist", _GREY_28, train_total=60_000, test=10_000),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    title="Photographs of animals and vehicles, 32×32 colour",
    loader="workers.data.vision:cifar10",
    augmentation=("crop", "flip", "cutout"),
    info=DatasetInfo("cifar10", _COLOUR_32, train_total=50_000, test=10_000),
)

CIFAR100 = DatasetSpec(
    name="cifar100",
    title="Photographs of 100 kinds of things, 32×32 colour",
    loader="workers.data.vision:cifar100",
    augmentation=("crop", "flip", "cutout"),
    info=DatasetInfo(
        "cifar100", Sample(channels=3, spatial=(32, 32), classes=100), train_total=50_000, test=10_000
    ),
)

SVHN = DatasetSpec(
    name="svhn",
    title="Digits of house numbers, 32×32 colour",
    loader="workers.data.vision:svhn",
    augmentation=("crop",),
    info=DatasetInfo("svhn", _COLOUR_32, train_total=73_257, test=26_032),
)

IMAGE_FOLDER = DatasetSpec(
    name="imagefolder",
    title="Your own images: PATH/train/CLASS/* and PATH/test/CLASS/*, or PATH/CLASS/*",
    loader="workers.data.files:image_folder",
    augmentation=("crop", "flip"),
    peek=peek_image_folder,
)

NPZ = DatasetSpec(
    name="npz",
    title="Your own arrays x_train, y_train, x_test, y_test in one .npz file: images or series",
    loader="workers.data.files:npz",
    peek=peek_npz,
)
