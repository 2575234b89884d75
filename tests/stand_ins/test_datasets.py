"""Random samples instead of data sets that are not there: torchvision's own code reads them as it does the real."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from bnguard._errors import BnguardError
from bnguard._stand_ins import StandIns, StoodIn, standing_in
from bnguard._stand_ins.dataset_kinds import KINDS

REQUIRED: dict[str, dict[str, Any]] = {
    "EMNIST": {"split": "letters"},
    "CocoDetection": {"annFile": "instances_train2017.json"},
    "CocoCaptions": {"annFile": "captions_val2017.json"},
    "DatasetFolder": {"loader": lambda path: Image.open(path), "extensions": (".png",)},
}


@pytest.fixture
def fakes():
    with standing_in(StandIns(fake_data=30)) as stood_in:
        yield stood_in


def made(name: str, **more: Any) -> Any:
    return getattr(datasets, name)("nowhere", **REQUIRED.get(name, {}), **more)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_by_its_own_code(name: str, fakes) -> None:
    dataset = made(name, transform=transforms.ToTensor())
    assert len(dataset) == 30
    for index in (0, 29):
        image, target = dataset[index]
        channels = 3 if KINDS[name].mode == "RGB" else 1
        assert image.shape == (channels, *KINDS[name].size)
        assert isinstance(target, (int, dict, list, torch.Tensor, Image.Image))
        if isinstance(target, int):
            assert 0 <= target < (KINDS[name].classes or 2)
    assert not torch.equal(dataset[0][0], dataset[1][0])
    assert [s.what for s in fakes] == [name]
    assert fakes[0].instead.startswith("30 random samples")


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "ImageFolder", "Food101", "CocoDetection"])
def test_a_loader_with_workers_gives_batches(name: str, fakes) -> None:
    change = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
    loader = DataLoader(
        made(name, transform=change, target_transform=lambda _: 1), batch_size=8, num_workers=1, shuffle=True
    )
    assert [tuple(x.shape[2:]) for x, _ in loader] == [(8, 8)] * 4


def test_nothing_is_downloaded_nor_written(fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = datasets.MNIST("data", train=False, download=True)
    assert list(tmp_path.iterdir()) == []
    assert dataset.data.shape == (30, 28, 28)
    assert dataset.data.dtype == torch.uint8
    assert dataset.targets.tolist()[:3] == [0, 1, 2]
    assert dataset.class_to_idx["0 - zero"] == 0
    assert "test" in repr(dataset).lower()
    assert fakes == [
        ("MNIST", "30 random samples instead of its 10,000", "MNIST has 30 samples, not 10,000", True),
    ]


def test_what_scripts_read_of_a_folder_of_images(fakes) -> None:
    dataset = datasets.ImageFolder("nowhere", transforms.ToTensor(), loader=lambda path: np.array(Image.open(path)))
    assert fakes == [("ImageFolder", "30 random samples", "ImageFolder has 30 samples", False)]
    assert (dataset.classes, dataset.class_to_idx) == (["class_0", "class_1"], {"class_0": 0, "class_1": 1})
    assert dataset.targets == [0] * 15 + [1] * 15
    assert [label for _, label in dataset.imgs] == dataset.targets
    image, _ = dataset[0]  # the loader is the user's
    assert image.shape == (3, 375, 500)
    assert pickle.loads(pickle.dumps(datasets.ImageFolder("nowhere"))).targets == dataset.targets


def test_a_class_of_the_users_own(fakes) -> None:
    class Mine(datasets.CIFAR10):
        def __init__(self, root: str) -> None:
            super().__init__(root, train=True, download=True)
            self.data, self.targets = self.data[:11], self.targets[:11]

        def __getitem__(self, index):
            return self.data[index].mean(), self.targets[index]

    mine = Mine("nowhere")
    assert len(mine) == 11
    assert 0 < mine[3][0] < 255
    assert len(mine.classes) == 10
    assert len(Subset(mine, range(4))) == 4


def test_what_the_real_ones_have_by_the_way(fakes) -> None:
    assert len(made("ImageNet").classes) == 1000
    image, (breed, trimap) = made("OxfordIIITPet", target_types=["category", "segmentation"])[3]
    assert (breed, trimap.mode, image.mode) == (3, "L", "RGB")
    attributes = made("CelebA", target_type="attr")[0][1]
    assert attributes.shape == (40,)
    objects = made("VOCDetection")[0][1]["annotation"]["object"]
    assert [o["name"] for o in objects] == ["dog", "person"]
    mask = np.array(made("VOCSegmentation")[0][1])
    assert mask.max() == 20
    annotations = made("CocoDetection")[1][1]
    assert {len(a["bbox"]) for a in annotations} == {4}
    assert {a["image_id"] for a in annotations} == {1}
    assert all(isinstance(caption, str) for caption in made("CocoCaptions")[0][1])
    assert set(made("EMNIST").targets.tolist()) == set(range(27))


def test_nobodys_random_numbers_are_drawn(fakes) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    for name in ("MNIST", "ImageFolder", "CelebA"):
        made(name)[0]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


@pytest.mark.parametrize(
    ("name", "arguments", "length"),
    [
        ("MNIST", {"train": False}, 10_000), ("QMNIST", {"what": "test50k"}, 50_000), ("STL10", {"folds": 3}, 1_000),
        ("EMNIST", {"split": "letters", "train": False}, 20_800), ("SVHN", {"split": "test"}, 26_032),
        ("VOCSegmentation", {"year": "2012", "image_set": "val"}, 1_449), ("Food101", {"split": "test"}, 25_250),
        ("CocoDetection", {"annFile": "a/instances_val2017.json"}, 5_000), ("Omniglot", {}, 19_280),
        ("LFWPeople", {"split": "test"}, 3_708), ("Cityscapes", {}, 2_975), ("ImageNet", {"split": "val"}, 50_000),
    ],
)  # fmt: skip
def test_as_many_as_the_real_one(name: str, arguments: dict[str, Any], length: int) -> None:
    with standing_in(StandIns(fake_data=0)) as stood_in:
        dataset = getattr(datasets, name)("nowhere", **arguments)
    assert len(dataset) == length
    assert stood_in == [StoodIn(name, f"{length:,} random samples, as many as it has")]


def test_how_many_a_folder_holds_is_not_known(tmp_path: Path) -> None:
    for label in ("a", "b", "c"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / label / "1.png")
    with standing_in(StandIns(fake_data=0)) as stood_in:
        assert len(datasets.ImageFolder(tmp_path)) == 3  # it is there, and is what is asked for
        with pytest.raises(BnguardError, match="ImageFolder is not there, and how many samples") as raised:
            datasets.ImageFolder(tmp_path / "nowhere")
    assert "--fake-data 1000" in str(raised.value.hint)
    assert stood_in == []


def test_files_that_are_no_images(fakes) -> None:
    with pytest.raises(BnguardError, match=r"no random samples can be made for a DatasetFolder of \.npy files"):
        datasets.DatasetFolder("nowhere", np.load, (".npy",))


def test_a_wrong_argument_is_the_scripts_own_error(fakes) -> None:
    with pytest.raises(TypeError, match="trian"):
        datasets.MNIST("nowhere", trian=True)


def test_afterwards_the_data_sets_are_the_real_ones() -> None:
    before = {name: dict(vars(getattr(datasets, name))) for name in KINDS}
    original = datasets.MNIST.__init__
    with standing_in(StandIns(fake_data=3)):
        assert datasets.MNIST.__init__ is not original
    assert {name: dict(vars(getattr(datasets, name))) for name in KINDS} == before
    assert "__init__" not in vars(datasets.FashionMNIST)
    with pytest.raises(RuntimeError, match="not found"):
        datasets.MNIST("nowhere")
