"""What torchvision's data sets hold: images of which size, how many classes and samples, and where they keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

What = Literal["images", "labels", "pairs", "rows", "array", "label_array", "masks", "xml", "text", "samples"]
"""What an attribute holds, an entry a sample: paths of image files; labels; pairs of both; and so on."""

ANY = 0
"""Classes where the data set itself says nothing of them."""


@dataclass(frozen=True)
class Kind:
    """One of torchvision's classes.

    Attributes:
        size: height and width of an image as it usually is.
        classes: how many there are.
        attributes: what the class keeps in which attribute; its own ``__getitem__`` and ``__len__`` read those.
        lengths: samples of each part, by what ``part`` returns.
        mode: of the images.
        channels_first: whether arrays of images have the channels before height and width.

    """

    size: tuple[int, int]
    classes: int
    attributes: Mapping[str, What]
    lengths: Mapping[str, int] = field(default_factory=dict)
    mode: Literal["L", "RGB"] = "RGB"
    channels_first: bool = False


def part(arguments: Mapping[str, Any]) -> str:
    """Return which part of a data set is asked for: ``train``, ``test``, ``2012 trainval``; empty for all of it."""
    if isinstance(arguments.get("what"), str):  # QMNIST's own word for it
        return str(arguments["what"])
    words = [str(arguments[name]) for name in ("year", "mode", "split", "image_set") if name in arguments]
    if "folds" in arguments and arguments["folds"] is not None:
        words.append("fold")
    for name, if_so, if_not in (("train", "train", "test"), ("background", "background", "evaluation")):
        if name in arguments:
            words.append(if_so if arguments[name] else if_not)
    if "annFile" in arguments:
        file = str(arguments["annFile"])
        words += [name for name in _COCO if name in file]
    return " ".join(words)


def _train_test(train: int, test: int) -> dict[str, int]:
    return {"train": train, "test": test}


def _mnist(classes: int = 10, **lengths: int) -> Kind:
    attributes: dict[str, What] = {"data": "array", "targets": "label_array"}
    return Kind((28, 28), classes, attributes, lengths or _train_test(60_000, 10_000), mode="L")


def _files(classes: int, lengths: Mapping[str, int], size: tuple[int, int] = (375, 500)) -> Kind:
    return Kind(size, classes, {"_image_files": "images", "_labels": "labels"}, lengths)


def _samples(classes: int, lengths: Mapping[str, int], size: tuple[int, int] = (375, 500)) -> Kind:
    return Kind(size, classes, {"_samples": "pairs"}, lengths)


def _folder(classes: int, lengths: Mapping[str, int], size: tuple[int, int] = (375, 500)) -> Kind:
    return Kind(size, classes, {"samples": "pairs", "imgs": "pairs", "targets": "labels"}, lengths)


_EMNIST = {
    "byclass": (697_932, 116_323), "bymerge": (697_932, 116_323), "balanced": (112_800, 18_800),
    "letters": (124_800, 20_800), "digits": (240_000, 40_000), "mnist": (60_000, 10_000),
}  # fmt: skip
_COCO = {"train2017": 118_287, "val2017": 5_000, "train2014": 82_783, "val2014": 40_504}
_VOC = {"2012 train": 5_717, "2012 val": 5_823, "2012 trainval": 11_540,
        "2007 train": 2_501, "2007 val": 2_510, "2007 trainval": 5_011, "2007 test": 4_952}  # fmt: skip
_VOC_SEGMENTED = {"2012 train": 1_464, "2012 val": 1_449, "2012 trainval": 2_913,
                  "2007 train": 209, "2007 val": 213, "2007 trainval": 422, "2007 test": 210}  # fmt: skip
_VOC_CLASSES = 21

_IMAGENET = {"train": 1_281_167, "val": 50_000}
_QMNIST = {"train": 60_000, "test": 60_000, "test10k": 10_000, "test50k": 50_000, "nist": 402_953}
_EMNIST_PARTS = {
    f"{split} {name}": n for split, pair in _EMNIST.items() for name, n in zip(("train", "test"), pair, strict=True)
}
_PLACES = {"train-standard": 1_803_460, "val": 36_500}
_STL10 = {"train": 5_000, "test": 8_000, "unlabeled": 100_000, "train+unlabeled": 105_000, "train fold": 1_000}

KINDS: dict[str, Kind] = {
    # in memory
    "MNIST": _mnist(),
    "FashionMNIST": _mnist(),
    "KMNIST": _mnist(),
    "QMNIST": Kind((28, 28), 10, {"data": "array", "targets": "rows"}, _QMNIST, mode="L"),
    "EMNIST": _mnist(10, **_EMNIST_PARTS),
    "USPS": Kind((16, 16), 10, {"data": "array", "targets": "labels"}, _train_test(7_291, 2_007), mode="L"),
    "SEMEION": Kind((16, 16), 10, {"data": "array", "labels": "label_array"}, {"": 1_593}, mode="L"),
    "CIFAR10": Kind((32, 32), 10, {"data": "array", "targets": "labels"}, _train_test(50_000, 10_000)),
    "CIFAR100": Kind((32, 32), 100, {"data": "array", "targets": "labels"}, _train_test(50_000, 10_000)),
    "SVHN": Kind((32, 32), 10, {"data": "array", "labels": "label_array"},
                 {**_train_test(73_257, 26_032), "extra": 531_131}, channels_first=True),
    "STL10": Kind((96, 96), 10, {"data": "array", "labels": "label_array"}, _STL10, channels_first=True),
    "FER2013": Kind((48, 48), 7, {"_samples": "samples"}, _train_test(28_709, 7_178), mode="L"),
    # a folder for each class
    "ImageFolder": _folder(ANY, {}),
    "DatasetFolder": _folder(ANY, {}),
    "ImageNet": _folder(1_000, _IMAGENET),
    "EuroSAT": _folder(10, {"": 27_000}, (64, 64)),
    "Country211": _folder(211, {"train": 31_650, "valid": 10_550, "test": 21_100}),
    # files and their labels
    "Food101": _files(101, _train_test(75_750, 25_250), (512, 512)),
    "Flowers102": _files(102, {**_train_test(1_020, 6_149), "val": 1_020}, (500, 667)),
    "DTD": _files(47, {**_train_test(1_880, 1_880), "val": 1_880}, (300, 300)),
    "FGVCAircraft": _files(100, {**_train_test(3_334, 3_333), "val": 3_333, "trainval": 6_667}, (700, 1000)),
    "SUN397": _files(397, {"": 108_754}),
    "CLEVRClassification": _files(11, {**_train_test(70_000, 15_000), "val": 15_000}, (320, 480)),
    "StanfordCars": _samples(196, _train_test(8_144, 8_041)),
    "GTSRB": _samples(43, _train_test(26_640, 12_630), (48, 48)),
    "RenderedSST2": _samples(2, {**_train_test(6_920, 1_821), "val": 872}, (448, 448)),
    "Imagenette": _samples(10, {"train": 9_469, "val": 3_925}),
    "OxfordIIITPet": Kind(
        (375, 500), 37,
        {"_images": "images", "_labels": "labels", "_bin_labels": "labels", "_segs": "masks"},
        {"trainval": 3_680, "test": 3_669},
    ),
    "Places365": Kind((256, 256), 365, {"imgs": "pairs", "targets": "labels"}, _PLACES),
    "LFWPeople": Kind(
        (250, 250), 5_749, {"data": "images", "targets": "labels"},
        {"10fold funneled": 13_233, "train funneled": 9_525, "test funneled": 3_708},
    ),
    "Omniglot": Kind(
        (105, 105), 964, {"_flat_character_images": "pairs"}, {"background": 19_280, "evaluation": 13_180}, mode="L"
    ),
    "CelebA": Kind(
        (218, 178), ANY, {"filename": "images"}, {"train": 162_770, "valid": 19_867, "test": 19_962, "all": 202_599}
    ),
    # objects and segmentation
    "VOCDetection": Kind((375, 500), _VOC_CLASSES, {"images": "images", "targets": "xml"}, _VOC),
    "VOCSegmentation": Kind((375, 500), _VOC_CLASSES, {"images": "images", "targets": "masks"}, _VOC_SEGMENTED),
    "Cityscapes": Kind(
        (1024, 2048), 30, {"images": "images", "targets": "masks"},
        {"fine train": 2_975, "fine val": 500, "fine test": 1_525, "coarse train": 2_975, "coarse val": 500,
         "coarse train_extra": 19_998},
    ),
    "Kitti": Kind((375, 1242), 8, {"images": "images", "targets": "text"}, _train_test(7_481, 7_518)),
    "CocoDetection": Kind((480, 640), 80, {}, _COCO),
    "CocoCaptions": Kind((480, 640), 80, {}, _COCO),
}  # fmt: skip
"""By the name of the class. Those that read videos, optical flow, stereo pairs or LMDB are not among them."""
