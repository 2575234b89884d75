"""Random samples in the place of data sets that are not there (``--fake-data``): torchvision's, and folders of images.

Only the constructor of each class is exchanged: it fills the attributes that the class's own ``__getitem__`` and
``__len__`` read, so that transforms, subclasses and code that reads ``.data`` or ``.targets`` do what they do. Where a
class opens files, these are a few images of noise in a temporary folder.
"""

from __future__ import annotations

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from bnguard._errors import BnguardError
from bnguard._stand_ins.coco import FakeCoco
from bnguard._stand_ins.dataset_kinds import ANY, KINDS, Kind, part
from bnguard._stand_ins.once_imported import once_imported

DIFFERENT = 8
"""So many images differ from each other; they recur in turn."""

IN_MEMORY = 512
"""The same for arrays, which are cheaper."""

TWO = 2
"""Classes of a folder that is not there: every model that tells classes apart takes labels 0 and 1."""

_IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_KEPT = ("train", "split", "image_set", "year", "background", "mode", "compat", "small", "folds")
"""Arguments that the classes keep under their own name or with an underscore."""


Tell = Callable[[str, str, "str | None", bool], object]


@contextmanager
def fake_datasets(samples: int, tell: Tell) -> Iterator[None]:
    """Within the block torchvision's data sets hold random samples; nothing is read or downloaded.

    Args:
        samples: how many each of them has; 0 for as many as the real one.
        tell: called with the name of a data set, what stands in for it, what that assumes, and whether that is untrue.

    """
    with ExitStack() as stack:
        fakes = _Fakes(samples, tell, stack)
        stack.enter_context(once_imported({"torchvision.datasets": fakes.put_in_place}))
        yield


class _Fakes:
    def __init__(self, samples: int, tell: Tell, stack: ExitStack) -> None:
        self._samples = samples
        self._tell = tell
        self._stack = stack
        self._noise = Noise(stack)

    def put_in_place(self, datasets: ModuleType) -> None:
        made = {name: getattr(datasets, name, None) for name in KINDS}
        constructors = {
            each: self._constructor(name, KINDS[name], each) for name, each in made.items() if isinstance(each, type)
        }
        for each, constructor in constructors.items():
            if "__init__" in vars(each):
                self._stack.callback(setattr, each, "__init__", vars(each)["__init__"])
            else:  # it has its base's
                self._stack.callback(delattr, each, "__init__")
            setattr(each, "__init__", constructor)  # noqa: B010 - of a class that is known by its name alone

    def _constructor(self, name: str, kind: Kind, made: type) -> Callable[..., None]:
        original: Callable[..., None] = made.__init__  # type: ignore[misc]
        signature = inspect.signature(original)

        @functools.wraps(original)
        def fill(dataset: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - one of torchvision's
            bound = signature.bind(dataset, *args, **kwargs)
            bound.apply_defaults()
            arguments = {**bound.arguments, **bound.arguments.get("kwargs", {})}
            if name == "EMNIST":
                arguments.setdefault("train", True)
            real = kind.lengths.get(part(arguments))
            if not self._samples and real is None:
                _as_it_is(name, functools.partial(original, dataset, *args, **kwargs))
                return
            count = self._samples or real or 0
            _refuse_other_files(name, arguments)
            _begin(dataset, arguments)
            self._noise.fill(dataset, name, kind, count, arguments)
            self._tell(name, *_instead(name, count, real))

        return fill


def _instead(name: str, count: int, real: int | None) -> tuple[str, str | None, bool]:
    """Return what a data set is, what an answer assumes for that, and whether it is known not to be so."""
    if count == real:
        return f"{count:,} random samples, as many as it has", None, False
    samples = f"{count:,} random sample{'s' * (count != 1)}"
    if real is None:
        return samples, f"{name} has {count:,} samples", False
    return f"{samples} instead of its {real:,}", f"{name} has {count:,} samples, not {real:,}", True


def _as_it_is(name: str, make: Callable[[], object]) -> None:
    """Make the data set itself, as nobody knows how many samples a stand-in would need."""
    try:
        make()
    except Exception as error:
        raise BnguardError(
            f"the data set {name} is not there, and how many samples it has is not known",
            hint="say how many: --fake-data 1000",
        ) from error


def _refuse_other_files(name: str, arguments: Mapping[str, Any]) -> None:
    extensions = arguments.get("extensions")
    if name == "DatasetFolder" and extensions and not all(str(e).lower().endswith(_IMAGES) for e in extensions):
        raise BnguardError(
            f"no random samples can be made for a DatasetFolder of {', '.join(map(str, extensions))} files",
            hint="only images can; run it where the data are, or without --fake-data",
        )


def _begin(dataset: Any, arguments: Mapping[str, Any]) -> None:  # noqa: ANN401
    """Do what the base class's constructor does, and keep the arguments as the class itself does."""
    folder: Any = import_module("torchvision.datasets.folder")

    common = {name: arguments.get(name) for name in ("transforms", "transform", "target_transform")}
    folder.VisionDataset.__init__(dataset, arguments.get("root") or "", **common)
    for name in _KEPT:
        if name in arguments:
            vars(dataset)[name] = vars(dataset)[f"_{name}"] = arguments[name]
    for name in ("target_type", "target_types"):
        if name in arguments:
            types = arguments[name]
            vars(dataset)[name] = vars(dataset)[f"_{name}"] = [types] if isinstance(types, str) else list(types)
    loader = arguments.get("loader", folder.default_loader)
    vars(dataset).update(loader=loader, _loader=loader, extensions=arguments.get("extensions"))


class Noise:
    """Makes random contents: the same in every run, and without drawing from anybody's random numbers."""

    def __init__(self, stack: ExitStack) -> None:
        import numpy as np

        self._random = np.random.default_rng(0)
        self._stack = stack
        self._folders: dict[str, str] = {}

    def fill(self, dataset: Any, name: str, kind: Kind, count: int, arguments: Mapping[str, Any]) -> None:  # noqa: ANN401
        """Give a data set the attributes that its class reads."""
        classes = self._classes(dataset, kind, arguments)
        grouped = "samples" in kind.attributes  # a folder for each class: they come one after the other
        labels = [i * len(classes) // count if grouped else i % len(classes) for i in range(count)]
        for attribute, what in kind.attributes.items():
            vars(dataset)[attribute] = getattr(self, f"_{what}")(kind, labels)
        special = _SPECIAL.get(name)
        if special is not None:
            special(self, dataset, kind, labels)
        if "data" in vars(dataset) and name.endswith("MNIST"):  # these alone hold tensors
            _to_tensors(dataset)

    def _classes(self, dataset: Any, kind: Kind, arguments: Mapping[str, Any]) -> list[Any]:  # noqa: ANN401
        of_split = getattr(dataset, "classes_split_dict", {}).get(arguments.get("split"))
        known = of_split or getattr(type(dataset), "classes", None)
        names = list(known) if known else [f"class_{i}" for i in range(kind.classes or TWO)]
        if kind.classes != ANY or "samples" in kind.attributes:
            own = {"classes": names, "class_to_idx": {name: i for i, name in enumerate(names)}}
            for attribute, value in own.items():
                if not isinstance(getattr(type(dataset), attribute, None), property):
                    vars(dataset)[attribute] = value
        return names

    # ------------------------------------------------------------------------------- one entry a sample

    def _labels(self, _: Kind, labels: list[int]) -> list[int]:
        return labels

    def _label_array(self, _: Kind, labels: list[int]) -> Any:  # noqa: ANN401 - mypy need not know numpy's shapes
        import numpy as np

        return np.asarray(labels, np.int64)

    def _rows(self, _: Kind, labels: list[int]) -> Any:  # noqa: ANN401
        import numpy as np

        return np.repeat(np.asarray(labels, np.int64)[:, None], 8, 1)  # QMNIST's eight columns, the label first

    def _array(self, kind: Kind, labels: list[int]) -> Any:  # noqa: ANN401
        import numpy as np

        channels = () if kind.mode == "L" else (3,)
        shape = (*channels, *kind.size) if kind.channels_first else (*kind.size, *channels)
        block = self._random.integers(0, 256, (min(IN_MEMORY, len(labels)), *shape), dtype=np.uint8)
        return block[np.arange(len(labels)) % len(block)]

    def _samples(self, kind: Kind, labels: list[int]) -> list[tuple[Any, int]]:
        import torch

        images = torch.from_numpy(self._array(kind, labels))
        return list(zip(images, labels, strict=True))

    def _images(self, kind: Kind, labels: list[int]) -> list[str]:
        files = self.files(kind)
        return [files[i % DIFFERENT] for i in range(len(labels))]

    def _pairs(self, kind: Kind, labels: list[int]) -> list[tuple[str, int]]:
        return list(zip(self._images(kind, labels), labels, strict=True))

    def _masks(self, kind: Kind, labels: list[int]) -> list[str]:
        return self._written("mask.png", len(labels), lambda path: self.image(kind, min(kind.classes, 21)).save(path))

    def _xml(self, _: Kind, labels: list[int]) -> list[str]:
        return self._written("objects.xml", len(labels), lambda path: Path(path).write_text(_OBJECTS, "utf-8"))

    def _text(self, _: Kind, labels: list[int]) -> list[str]:
        return self._written("objects.txt", len(labels), lambda path: Path(path).write_text(_LINES, "utf-8"))

    # ------------------------------------------------------------------------------------------- files

    def image(self, kind: Kind, values: int = 256) -> Any:  # noqa: ANN401 - a PIL image
        """Return an image of noise; of fewer ``values`` it is a mask."""
        import numpy as np
        from PIL import Image

        shape = kind.size if kind.mode == "L" or values < 256 else (*kind.size, 3)
        return Image.fromarray(self._random.integers(0, values, shape, dtype=np.uint8))

    def files(self, kind: Kind) -> list[str]:
        """Return the paths of a few different images."""
        folder = self._folder(f"{kind.mode}-{kind.size[0]}x{kind.size[1]}")
        paths = [os.path.join(folder, f"image_{i + 1:04}.jpg") for i in range(DIFFERENT)]  # noqa: PTH118 - texts
        for path in paths:
            if not Path(path).exists():
                self.image(kind).save(path)
        return paths

    def _written(self, name: str, count: int, write: Callable[[str], object]) -> list[str]:
        path = os.path.join(self._folder(f"{name}-{len(self._folders)}"), name)  # noqa: PTH118
        write(path)
        return [path] * count

    def _folder(self, name: str) -> str:
        if not self._folders:
            self._folders[""] = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bnguard-data-"))
        if name not in self._folders:
            folder = Path(self._folders[""], name)
            folder.mkdir()
            self._folders[name] = str(folder)
        return self._folders[name]


def _to_tensors(dataset: Any) -> None:  # noqa: ANN401
    import torch

    dataset.data = torch.from_numpy(dataset.data)
    dataset.targets = torch.as_tensor(dataset.targets)


# ------------------------------------------------------------------------------- what one class alone has


def _celeba(_: Noise, dataset: Any, __: Kind, labels: list[int]) -> None:  # noqa: ANN401
    import torch

    count, drawn = len(labels), torch.Generator().manual_seed(0)
    dataset.attr = torch.randint(2, (count, 40), generator=drawn)
    dataset.attr_names = [f"attribute_{i}" for i in range(40)]
    dataset.identity = torch.arange(count)[:, None] % 2
    dataset.bbox = torch.tensor([[40, 60, 90, 120]]).expand(count, 4)
    dataset.landmarks_align = torch.randint(178, (count, 10), generator=drawn)


def _pets(_: Noise, dataset: Any, __: Kind, labels: list[int]) -> None:  # noqa: ANN401
    dataset.bin_classes, dataset.bin_class_to_idx = ["Cat", "Dog"], {"Cat": 0, "Dog": 1}
    vars(dataset)["_bin_labels"] = [label % 2 for label in labels]


def _omniglot(_: Noise, dataset: Any, kind: Kind, __: list[int]) -> None:  # noqa: ANN401
    vars(dataset).update(target_folder="", _characters=[f"character_{i}" for i in range(kind.classes)])


def _cityscapes(_: Noise, dataset: Any, __: Kind, ___: list[int]) -> None:  # noqa: ANN401
    dataset.targets = [[path] * len(dataset.target_type) for path in dataset.targets]


def _imagenet(_: Noise, dataset: Any, __: Kind, ___: list[int]) -> None:  # noqa: ANN401
    dataset.wnids, dataset.wnid_to_idx = dataset.classes, dataset.class_to_idx
    dataset.classes = [(name,) for name in dataset.wnids]  # each has several names


def _coco(noise: Noise, dataset: Any, kind: Kind, labels: list[int]) -> None:  # noqa: ANN401
    dataset.coco = FakeCoco(noise.files(kind), len(labels), kind.size)
    dataset.ids = sorted(dataset.coco.imgs)


_SPECIAL: dict[str, Callable[[Noise, Any, Kind, list[int]], None]] = {
    "CelebA": _celeba,
    "OxfordIIITPet": _pets,
    "Omniglot": _omniglot,
    "Cityscapes": _cityscapes,
    "ImageNet": _imagenet,
    "CocoDetection": _coco,
    "CocoCaptions": _coco,
}

_OBJECTS = """\
<annotation><folder>VOC</folder><filename>image.jpg</filename>
<size><width>500</width><height>375</height><depth>3</depth></size><segmented>0</segmented>
<object><name>dog</name><pose>Left</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>50</xmin><ymin>40</ymin><xmax>250</xmax><ymax>300</ymax></bndbox></object>
<object><name>person</name><pose>Frontal</pose><truncated>0</truncated><difficult>0</difficult>
<bndbox><xmin>260</xmin><ymin>30</ymin><xmax>450</xmax><ymax>350</ymax></bndbox></object>
</annotation>
"""
_LINES = "Car 0.00 0 1.50 100.0 150.0 300.0 250.0 1.6 1.7 3.9 -1.0 1.7 20.0 1.5\n" * 2
