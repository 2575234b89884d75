"""What a loader feeds, by the evidence nearest to its call."""

from __future__ import annotations

import pytest

HEAD = "import torch\nfrom torch.utils.data import DataLoader\nimport torchvision\n"
CALL = "DataLoader(ds, batch_size=4)"

TRAIN = [
    f"train_loader = {CALL}",
    f"trainloader = {CALL}",
    f"trainLoader = {CALL}",
    f"train_loader: object = {CALL}",
    f"self.train_dl = {CALL}",
    f'loaders["train"] = {CALL}',
    f"train_loaders[0] = {CALL}",
    f"train_loaders[fold] = {CALL}",
    f'loaders = {{"train": {CALL}}}',
    f"loaders = dict(train={CALL})",
    f"trainer.fit(model, train_dataloaders={CALL})",
    f"if (train_loader := {CALL}): pass",
    f"a = train_loader = {CALL}",
    f"train_loader = iter({CALL})",
    f"train_loader = {CALL} if big else None",
    f"train_loaders = [{CALL} for ds in parts]",
    f"train_loaders = {{i: {CALL} for i, ds in enumerate(parts)}}",
    f"model, train_loader = accelerator.prepare(model, {CALL})",
    f"train_loader = lambda: {CALL}",
    f"def f(train_loader={CALL}): pass",
    f"train_one_epoch(model, {CALL})",
    f"def train_dataloader(self):\n    return {CALL}",
    f"def train_dataloader(self):\n    dl = {CALL}\n    return dl",
    f"async def get_train_loader():\n    def make():\n        return {CALL}\n    return make()",
    f"def train():\n    for x, y in {CALL}: pass",
    "loader = DataLoader(train_set, batch_size=4)",
    "loader = DataLoader(self.train_data, batch_size=4)",
    'loader = DataLoader(ds["train"], batch_size=4)',
    "loader = DataLoader(dataset=train_set, batch_size=4)",
    "loader = DataLoader(Subset(train_set, idx), batch_size=4)",
    "loader = DataLoader(TrainDataset(root), batch_size=4)",
    "loader = DataLoader(get_train_data(), batch_size=4)",
    "loader = DataLoader(torchvision.datasets.CIFAR10(root, train=True), batch_size=4)",
    "ds = torchvision.datasets.CIFAR10(root, train=True)\nloader = DataLoader(ds, batch_size=4)",
    'ds = torchvision.datasets.SVHN(root, split="train")\nloader = DataLoader(ds, batch_size=4)',
    "a = torchvision.datasets.CIFAR10(root, train=True)\nb = a\nloader = DataLoader(Subset(b, idx), batch_size=4)",
    "loader = DataLoader(ds, batch_size=4, sampler=train_sampler)",
    "s = RandomSampler(train_set)\nloader = DataLoader(ds, batch_size=4, sampler=s)",
    "def train(m):\n    loader = DataLoader(ds, batch_size=4)",
    "loader = DataLoader(ds, batch_size=4, shuffle=True)",
    "loader = DataLoader(ds, 4, True)",
    "for x, y in DataLoader(ds, 4, shuffle=True): pass",
    # the nearer evidence wins
    "def test_model():\n    train_loader = DataLoader(ds, 4)",
    "train_loader = DataLoader(val_set, 4)",
    "def test():\n    loader = DataLoader(train_set, 4)",
    # a loop over both that the call does not depend on
    'for phase in ["train", "val"]:\n    train_loader = DataLoader(ds, 4)',
]

EVAL = [
    f"val_loader = {CALL}",
    f"self.test_dl = {CALL}",
    f'loaders["val"] = {CALL}',
    f"trainer.validate(model, {CALL})",
    f"evaluate(model, {CALL})",
    f"def get_val_loader():\n    return {CALL}",
    f"def val_dataloader(self):\n    return [{CALL}, DataLoader(a, 4)]",
    "loader = DataLoader(test_set, batch_size=4)",
    "ds = torchvision.datasets.CIFAR10(root, train=False)\nloader = DataLoader(ds, batch_size=4, shuffle=True)",
    'loader = DataLoader(torchvision.datasets.VOCDetection(root, image_set="val"), 4)',
    "val_loader = DataLoader(ds, 4, shuffle=True)",
    "def train():\n    loader = DataLoader(test_set, 4)",
    "loader = DataLoader(ds, batch_sampler=BatchSampler(val_sampler, 4, False))",
]

UNKNOWN = [
    f"loader = {CALL}",
    f"return_value = {CALL}",
    f"devices = {CALL}",
    f"train_val_loader = {CALL}",
    f"trainer.fit(model, {CALL})",
    f"def get_loader(split):\n    return {CALL}",
    "def make(ds, train):\n    return DataLoader(ds, 4, shuffle=train)",
    "ds = CIFAR10(train=True)\nds = CIFAR10(train=False)\nloader = DataLoader(ds, 4)",
    "loader = DataLoader(CIFAR10(root, train=training), 4)",
    f"n, train_loader = make(model, {CALL}, n)",
    f"x_train, y_train = next(iter({CALL}))",
    f"*train_loaders, val_loader = {CALL}, DataLoader(a, 4), DataLoader(b, 4)",
]

BOTH = [
    'loaders = {x: DataLoader(ds[x], 4, shuffle=True) for x in ["train", "val"]}',
    'train_loaders = {x: DataLoader(ds[x], 4) for x in ["train", "val"]}',
    'for phase in ("train", "test"):\n    loaders[phase] = DataLoader(ds[phase], 4)',
    'for phase in ("train", "test"):\n    loader = DataLoader(ds, 4, shuffle=phase == "train")',
    'phases = ["train", "val"]\nloaders = [DataLoader(ds[p], 4) for p in phases]',
    "loaders = [DataLoader(ds, 4) for ds in (train_set, test_set)]",
    "train_dl, val_dl = (DataLoader(ds, 4) for ds in (train_set, val_set))",
    'sets = {"train": a, "val": b}\nloaders = {k: DataLoader(v, 4) for k, v in sets.items()}',
]


@pytest.mark.parametrize("text", TRAIN)
def test_training(proposed, text):
    proposal = proposed(f"{HEAD}{text}\n")
    assert proposal.edits, proposal.left


@pytest.mark.parametrize("text", EVAL)
def test_evaluation(proposed, text):
    proposal = proposed(f"{HEAD}{text}\n")
    assert not proposal.edits
    assert all("feeds evaluation (" in left.reason and "model.eval()" in left.reason for left in proposal.left)


@pytest.mark.parametrize("text", UNKNOWN)
def test_unknown_is_left_with_the_next_step(proposed, text):
    left = proposed(f"{HEAD}{text}\n").left[0]
    assert left.reason.startswith("nothing says whether it feeds training: say --train ")


@pytest.mark.parametrize("text", BOTH)
def test_one_call_for_both(proposed, text):
    proposal = proposed(f"{HEAD}{text}\n")
    (left,) = proposal.left
    assert left.reason.startswith("one call makes loaders for training and evaluation (for ")
    assert proposed(proposal.old, train=[str(left.line)]).edits


def test_several_targets_are_told_apart(proposed):
    proposal = proposed(f"{HEAD}train_dl, (val_dl, n) = {CALL}, ({CALL}, 3)\n")
    assert [edit.name for edit in proposal.edits] == ["train_dl"]
    assert [left.name for left in proposal.left] == ["val_dl"]


class TestWhatTheUserSays:
    TEXT = f"{HEAD}loader = {CALL}\nval_loader = {CALL}\ndef make():\n    return {CALL}\nself.dl = {CALL}\n"

    @pytest.mark.parametrize(
        ("said", "line"),
        [("loader", 4), ("val_loader", 5), ("4", 4), ("make", 7), ("make()", 7), ("7", 7), ("dl", 8), ("self.dl", 8)],
    )
    def test_a_name_or_a_line_means_the_call(self, proposed, said, line):
        proposal = proposed(self.TEXT, train=[said])
        assert [edit.line for edit in proposal.edits] == [line]
        assert "--train says so" in proposal.edits[0].reason

    def test_it_goes_before_every_name(self, proposed):
        proposal = proposed(f"{HEAD}train_loader = {CALL}\n", evaluate=["train_loader"])
        assert not proposal.edits
        assert "--eval says so" in proposal.left[0].reason

    def test_a_line_inside_a_long_call(self, proposed):
        assert proposed(f"{HEAD}x = DataLoader(\n    ds,\n    batch_size=4,\n)\n", train=["6"]).edits

    def test_the_proposed_word_works(self, proposed):
        for left in proposed(self.TEXT).left:
            if "--train" in left.reason:
                word = left.reason.split("--train ")[1].split()[0]
                assert [edit.line for edit in proposed(self.TEXT, train=[word]).edits] == [left.line]

    def test_both_at_once_is_refused(self, proposed):
        from bnguard._errors import UsageError

        with pytest.raises(UsageError, match=r"train\.py:4 loader: declared as training and as evaluation"):
            proposed(self.TEXT, train=["loader"], evaluate=["4"])
