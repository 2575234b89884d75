"""Facts from a checkpoint: the layers that its keys betray, and what their running statistics hold."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bnguard._errors import TargetError
from bnguard._facts.models import LayerFact, Mode, ModelFact
from bnguard._facts.norm_kinds import BATCH
from bnguard._targets import no_file
from bnguard._trace.layer_facts import statistics_fact
from bnguard._usercode import display_path, one_line

ENDINGS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
_NESTS = ("state_dict", "model_state_dict", "model", "net", "weights", "module", "ema")
_DEEPEST = 4


def is_checkpoint(text: str) -> bool:
    """Whether the target is a file of weights, by its ending."""
    return text.lower().endswith(ENDINGS)


def scan_checkpoint(text: str, batch_size: int, mode: Mode) -> ModelFact:
    """Return the facts that a state dict holds: which layers keep running statistics, and their contents.

    What a forward would do cannot be known from weights, so that every verdict is ``unknown``.

    Raises:
        TargetError: the file is missing, unreadable, or holds no state dict.

    """
    state = _state_dict(text)
    layers = tuple(_layer(name, state, mode) for name in _owners(state))
    return ModelFact(
        target=text,
        cls=Path(text).name,
        batch_size=batch_size,
        mode=mode,
        inputs=(),
        method="none",
        layers=layers,
        notes=(f"running statistics of {len(layers)} layers looked at",),
        trace_error="a checkpoint holds weights, not the forward: scan the file that defines the model as well",
    )


def _owners(state: Mapping[str, Tensor]) -> list[str]:
    ending = "running_var"
    return [k[: -len(ending)].removesuffix(".") for k in state if k == ending or k.endswith(f".{ending}")]


def _layer(name: str, state: Mapping[str, Tensor], mode: Mode) -> LayerFact:
    prefix = f"{name}." if name else ""
    var = state[f"{prefix}running_var"]
    mean = state.get(f"{prefix}running_mean", torch.zeros_like(var))
    return LayerFact(
        name=name,
        type=BATCH.title,
        kind=BATCH.name,
        num_features=var.numel(),
        training=mode == "train",
        affine=f"{prefix}weight" in state,
        track_running_stats=True,
        momentum=0.1,
        eps=1e-5,
        verdict="unknown",
        statistics=statistics_fact(mean, var, state.get(f"{prefix}num_batches_tracked")),
        reason="a checkpoint holds weights, not the forward",
    )


def _state_dict(text: str) -> Mapping[str, Tensor]:
    path = Path(text).expanduser()
    if not path.is_file():
        raise no_file(text, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols and archives: the error says what matters
        loaded = _load_safetensors(path) if path.suffix.lower() == ".safetensors" else _load_pickle(path)
    found = _find(loaded)
    if found is None:
        raise TargetError(f"{text} holds no state dict", hint="save one with torch.save(model.state_dict(), path)")
    return found


def _find(loaded: object) -> Mapping[str, Tensor] | None:
    """Return the state dict within what was saved: the one with running statistics, else the first with tensors."""
    found = list(_mappings(loaded))
    return next((m for m in found if _owners(m)), found[0] if found else None)


def _mappings(value: object, depth: int = 0) -> Iterator[dict[str, Tensor]]:
    if not isinstance(value, Mapping) or depth > _DEEPEST:
        return
    tensors = {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
    if tensors:
        yield tensors
    for key in sorted(value, key=lambda k: k not in _NESTS):  # the usual names first
        yield from _mappings(value[key], depth + 1)


def _load_pickle(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001 - an old file cannot be mapped: read it whole
        pass
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            hint = (
                "bnguard does not run code from a checkpoint: save model.state_dict(), or load it in a file of "
                "your own and scan that, such as load.py:model"
            )
            raise TargetError(
                f"{display_path(str(path))} holds pickled objects, not only tensors", hint=hint
            ) from error
        raise TargetError(
            f"{display_path(str(path))} is no readable checkpoint ({one_line(error)})",
            hint="it may be cut off, or of another kind",
        ) from error


def _load_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise TargetError(
            "reading .safetensors needs the package safetensors", hint="pip install safetensors"
        ) from None
    try:
        return load_file(path)
    except Exception as error:
        raise TargetError(
            f"{display_path(str(path))} is no readable checkpoint ({one_line(error)})",
            hint="it may be cut off, or of another kind",
        ) from error
