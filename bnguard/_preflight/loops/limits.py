"""How many batches of an epoch a trainer takes, whose loop is its library's: read from the trainer itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NamedTuple

from bnguard._audit_loader.sharding import is_from


class Limit(NamedTuple):
    """How many batches are taken of a pass, and who takes them."""

    batches: int
    who: str


def limit_of(loader: object, frame: FrameType | None) -> Limit | None:
    """Return the limit under which a loader is about to be passed over, None where all of its batches are wanted.

    Args:
        loader: the DataLoader.
        frame: in which its iterator is asked for, or one below.

    """
    found = [limit for trainer, name in _trainers(frame) for read in _READERS for limit in read(trainer, name, loader)]
    return min((limit for limit in found if limit.batches > 0), default=None)


def _trainers(frame: FrameType | None) -> Iterator[tuple[Any, str]]:
    """Yield whose methods are at work, from the innermost on, up to one that evaluates; and their names."""
    while frame is not None:
        owner, name = frame.f_locals.get("self"), frame.f_code.co_name
        if owner is not None:
            yield owner, name
        if name in ("evaluation_loop", "prediction_loop") or is_from(owner, "lightning", "_EvaluationLoop"):
            return
        frame = frame.f_back


def _of_lightnings_loader(loaders: Any, _name: str, loader: object) -> Iterator[Limit]:  # noqa: ANN401 - not imported
    """``limit_train_batches``, ``fast_dev_run``, ``overfit_batches`` and their like, as its loops have counted them."""
    if not is_from(loaders, "lightning", "CombinedLoader"):
        return
    for one, limit in zip(loaders.flattened, loaders.limits or (), strict=False):
        if one is loader and limit != float("inf"):
            yield Limit(int(limit), "Lightning's Trainer")


def _of_lightnings_trainer(loop: Any, _name: str, _loader: object) -> Iterator[Limit]:  # noqa: ANN401 - see above
    if is_from(loop, "lightning", "_FitLoop") and loop.epoch_loop.max_steps > 0:
        trainer = loop.trainer
        left = loop.epoch_loop.max_steps - trainer.global_step
        yield Limit(left * trainer.accumulate_grad_batches, "Lightning's Trainer (max_steps)")


def _of_transformers(trainer: Any, name: str, _loader: object) -> Iterator[Limit]:  # noqa: ANN401 - see above
    known = any((k.__module__, k.__name__) == ("transformers.trainer", "Trainer") for k in type(trainer).__mro__)
    if known and name in ("_run_epoch", "_inner_training_loop") and trainer.args.max_steps > 0:
        left = trainer.args.max_steps - trainer.state.global_step
        yield Limit(left * trainer.args.gradient_accumulation_steps, "Transformers' Trainer (max_steps)")


_READERS: tuple[Callable[[Any, str, object], Iterator[Limit]], ...] = (
    _of_lightnings_loader,
    _of_lightnings_trainer,
    _of_transformers,
)
