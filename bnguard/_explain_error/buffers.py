"""DistributedDataParallel overwrites the running statistics before each forward, and backward finds that they moved."""

from __future__ import annotations

import re

from bnguard import _remedies as ways
from bnguard._diagnose.classify import Classified
from bnguard._facts.diagnosis import Diagnosis

_DDP = re.compile(r"DistributedDataParallel|broadcast_buffers|parallel[\\/]distributed\.py|torchrun|torch\.distributed")
_NORM_BACKWARD = re.compile(r"Error detected in \w*BatchNorm\w*", re.IGNORECASE)
_CHANGED = re.compile(r"\[torch\.(?:cuda\.)?\w*Tensor \[(\d+(?:, \d+)*)\]\]")

_NAMED, _OF_THEIR_SHAPE = 0.8, 0.5


def buffers_of_ddp(read: Classified, text: str, rank: int | None) -> Diagnosis:
    """Return the diagnosis of "modified by an inplace operation": a matter of normalisation only in some texts."""
    changed = _CHANGED.search(" ".join(text.split()))
    vector = changed is not None and "," not in changed[1]
    distributed, named = _DDP.search(text) is not None or rank is not None, _NORM_BACKWARD.search(text)
    if not (named or (distributed and vector)):
        return Diagnosis(cause=read.cause, place="backward", rank=rank, evidence=_ELSEWHERE)
    evidence = [f"backward of a BatchNorm found it: {named[0]}"] if named else []
    if vector and changed is not None:
        evidence.append(f"the tensor has {changed[1]} values in one dimension, as running statistics have")
    if distributed:
        evidence.append(
            "DistributedDataParallel copies rank 0's running statistics over the others' before each forward"
        )
    return Diagnosis(
        cause=read.cause,
        confidence=_NAMED if named and distributed else _OF_THEIR_SHAPE,
        place="backward",
        suspected=True,
        rank=rank,
        evidence=tuple(evidence),
        remedies=(
            *((ways.BROADCAST_BUFFERS.for_case(),) if distributed else ()),
            ways.ONE_FORWARD.for_case(),
        ),
    )


_ELSEWHERE = ("a tensor that backward needs was changed in place; the text shows no sign of running statistics",)
