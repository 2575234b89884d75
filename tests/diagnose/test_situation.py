"""The circumstances of a failed call, and with them the first advice; every failure is PyTorch's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import bnguard
from bnguard._facts.diagnosis import Diagnosis
from bnguard._facts.situation import Situation, does_not_train


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("validate", True),
        ("validation_step", True),
        ("evaluateModel", True),
        ("test_loop", True),
        ("selectAction", True),
        ("act", True),
        ("export_onnx", True),
        ("train", False),
        ("training_step", False),
        ("train_and_validate", False),
        ("fit", False),
        ("sample_and_update", False),
        ("main", None),
        ("forward", None),
        ("step", None),
        ("latest", None),
        ("<module>", None),
    ],
)
def test_what_the_name_of_a_function_tells(name: str, expected: bool | None) -> None:
    assert does_not_train(name) is expected


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))


def loader(samples: int, batch_size: int) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.randn(samples, 4)), batch_size=batch_size)


def failing(call: Any, *args: Any) -> Diagnosis:
    with pytest.raises(ValueError, match="more than 1 value") as caught, bnguard.guard():
        call(*args)
    found = caught.value.bnguard
    assert isinstance(found, Diagnosis)
    return found


def kinds(found: Diagnosis) -> list[str]:
    return [advice.kind for advice in found.remedies]


def situation(found: Diagnosis) -> Situation:
    assert found.situation is not None
    return found.situation


def epoch(model: nn.Module, batches: DataLoader[Any]) -> None:
    for (x,) in batches:
        model(x).sum().backward()


def test_the_tail_of_a_loader_is_merged_by_its_own_name() -> None:
    found = failing(epoch, net(), loader(9, 8))
    at = situation(found)
    assert (at.loader, at.model, at.alone, at.place) == ("batches", "model", "tail", "step 2 of 2")
    assert found.remedies[0].call == "batches = bnguard.repair.merge_tail(batches)"
    assert "step 2 of 2 of batches" in found.text()


def test_where_every_batch_has_one_sample_there_is_no_tail_to_merge() -> None:
    found = failing(epoch, net(), loader(3, 1))
    assert situation(found).alone == "every-batch"
    assert kinds(found) == ["larger-batches", "freeze", "allow-single-sample", "group-norm"]
    assert any("accumulating gradients does not help" in why for why in found.evidence)
    assert found.remedies[1].call == "bnguard.repair.freeze(model)"


def test_a_progress_bar_and_an_enumeration_are_seen_through() -> None:
    class Bar:
        def __init__(self, iterable: Any) -> None:
            self.iterable = iterable

        def __iter__(self) -> Any:
            return iter(self.iterable)

    def with_bar(model: nn.Module, data: DataLoader[Any]) -> None:
        bar = Bar(data)
        for _, (x,) in enumerate(bar):
            model(x)

    assert situation(failing(with_bar, net(), loader(9, 8))).alone == "tail"


def without_gradients(model: nn.Module, batches: DataLoader[Any]) -> None:
    with torch.no_grad():
        for (x,) in batches:
            model(x)


@torch.inference_mode()
def decorated(model: nn.Module, batches: DataLoader[Any]) -> None:
    for (x,) in batches:
        model(x)


def validate(model: nn.Module, batches: DataLoader[Any]) -> None:
    for (x,) in batches:
        model(x)


def switched_off(model: nn.Module, batches: DataLoader[Any], training: bool = False) -> None:
    with torch.set_grad_enabled(training):
        for (x,) in batches:
            model(x)


@pytest.mark.parametrize("function", [without_gradients, decorated, validate, switched_off])
def test_what_trains_nothing_belongs_in_eval_mode(function: Any) -> None:
    found = failing(function, net(), loader(9, 8))
    assert kinds(found) == ["eval-mode", "allow-single-sample"]
    assert "model.eval()" in found.remedies[0].does


def test_gradients_that_are_switched_on_again_are_on() -> None:
    def inner(model: nn.Module, batches: DataLoader[Any]) -> None:
        with torch.enable_grad():
            for (x,) in batches:
                model(x)

    @torch.no_grad()
    def outer(model: nn.Module, batches: DataLoader[Any]) -> None:
        inner(model, batches)

    assert kinds(failing(outer, net(), loader(9, 8)))[0] == "merge-tail"


def test_a_forward_by_itself_belongs_in_eval_mode() -> None:
    def probe_sizes(model: nn.Module) -> torch.Tensor:
        return model(torch.randn(1, 4))  # type: ignore[no-any-return]

    def main(model: nn.Module) -> int:
        return model(torch.randn(1, 4)).shape[1]  # type: ignore[no-any-return]

    for function in (probe_sizes, main):
        assert kinds(failing(function, net()))[0] == "eval-mode"


def test_slices_of_the_users_own_have_no_loader_to_repair() -> None:
    def slices(model: nn.Module) -> None:
        data = torch.randn(9, 4)
        for at in range(0, 9, 8):
            model(data[at : at + 8]).sum().backward()

    found = failing(slices, net())
    assert kinds(found) == ["two-at-once", "allow-single-sample"]
    assert "DataLoader" not in found.text()
    assert "merge_tail" not in found.text()


class Ghost(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.bn(part) for part in x.split(4)])


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x[x[:, 0] == x[:, 0].max()])  # type: ignore[no-any-return]


def test_a_chunk_of_one_is_no_tail() -> None:
    found = failing(epoch, nn.Sequential(Ghost()), loader(18, 9))
    assert (situation(found).alone, situation(found).batch_size) == ("chunk", 9)
    assert kinds(found) == ["batch-size", "allow-single-sample"]
    assert "chunk" in found.remedies[0].does
    assert found.remedies[1].call == "bnguard.repair.allow_single_sample(model, only=['0.bn'])"
    assert "called with 9 samples" in found.text()


def test_rows_that_the_data_choose_are_no_tail() -> None:
    found = failing(epoch, nn.Sequential(Masked()), loader(18, 9))
    assert situation(found).alone == "rows"
    assert kinds(found) == ["allow-single-sample"]


def test_instance_norm_is_told_of_in_its_own_words() -> None:
    def images(model: nn.Module) -> None:
        for x in torch.randn(2, 8, 3, 4, 4):
            model(x)

    with pytest.raises(ValueError, match="spatial element") as caught, bnguard.guard():
        images(nn.Sequential(nn.Conv2d(3, 4, 4), nn.InstanceNorm2d(4)))
    found = caught.value.bnguard
    assert kinds(found) == ["larger-input"]
    assert found.confidence == 1
    text = " ".join(found.text().split())
    assert "one value per sample and channel" in text
    assert "proven by replay" in text
    assert "1 value per sample and channel" in text
    assert "values per channel" not in text


def test_a_layer_without_running_statistics_needs_them_in_eval_mode() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, track_running_stats=False)).eval()
    assert kinds(failing(validate, model, loader(9, 8))) == ["track-statistics"]


def test_a_larger_input_is_not_offered_where_nothing_measured_it() -> None:
    assert "larger" not in failing(epoch, net(), loader(9, 8)).text()


def test_a_model_that_a_function_builds_has_lines() -> None:
    def train() -> None:
        model = nn.Sequential(
            nn.Linear(4, 8),
            nn.BatchNorm1d(8),
        )
        epoch(model, loader(9, 8))

    source = failing(train).source
    assert source is not None
    assert Path(source.file).name == Path(__file__).name
    assert "nn.BatchNorm1d(8)," in Path(__file__).read_text(encoding="utf-8").splitlines()[source.line - 1]


SCRIPT = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

class Trainer:
    def __init__(self):
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        self.loaders = {"train": DataLoader(TensorDataset(torch.randn(9, 4)), batch_size=8)}

    def fit(self):
        for x, in self.loaders["train"]:
            self.model(x).sum().backward()

Trainer().fit()
"""


def test_attributes_and_entries_are_named_as_the_script_names_them(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "bnguard", "run", "train.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = " ".join(done.stderr.split())
    assert "self.loaders['train'] = bnguard.repair.merge_tail(self.loaders['train'])" in said
    assert "bnguard.repair.allow_single_sample(self.model)" in said
    assert "step 2 of 2 of self.loaders['train']" in said


def test_what_stands_between_a_loader_and_the_model_is_no_tail() -> None:
    def one_by_one(model: nn.Module, batches: DataLoader[Any]) -> None:
        for (x,) in batches:
            for i in range(len(x)):
                model(x[i : i + 1]).sum().backward()

    def chosen(model: nn.Module, batches: DataLoader[Any]) -> None:
        for (x,) in batches:
            model(x[x[:, 0] >= x[:, 0].max()]).sum().backward()

    def in_chunks(model: nn.Module, batches: DataLoader[Any]) -> None:
        for (x,) in batches:
            for part in x.chunk(8):
                model(part).sum().backward()

    for function, alone, kind in (
        (one_by_one, "between", "two-at-once"),
        (chosen, "between", "two-at-once"),
        (in_chunks, "chunk", "batch-size"),
    ):
        found = failing(function, net(), loader(16, 8))
        assert (situation(found).alone, kinds(found)[0]) == (alone, kind)
        assert "merge_tail" not in found.text()


def test_a_call_after_the_epoch_stands_by_itself_though_a_loader_is_near() -> None:
    def main(model: nn.Module) -> None:
        batches = loader(16, 8)
        epoch(model, batches)
        model(torch.randn(1, 4))

    assert kinds(failing(main, net()))[0] == "eval-mode"


def test_what_traces_a_model_trains_nothing() -> None:
    def main(model: nn.Module) -> None:
        epoch(model, loader(16, 8))
        torch.jit.trace(model, torch.randn(1, 4))  # type: ignore[no-untyped-call]

    found = failing(main, net())
    assert kinds(found)[0] == "eval-mode"
    assert "torch.jit.trace()" in found.remedies[0].does


def test_what_is_only_inferred_is_not_said_as_a_fact() -> None:
    def main(model: nn.Module) -> None:
        model(torch.randn(1, 4)).sum().backward()

    by_itself = failing(main, net()).remedies[0].does
    by_name = failing(validate, net(), loader(9, 8)).remedies[0].does
    assert "unless it trains" in by_itself
    assert "by its name" in by_name
