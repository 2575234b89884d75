"""What is known of one failure in a normalisation call: plain frozen data, for a note, a report and JSON alike."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, fields
from typing import Any, Literal

from bnguard._facts.models import Mode, SourceLine, class_text
from bnguard._facts.norm_kinds import BATCH, KINDS, NormKind
from bnguard._facts.situation import Situation
from bnguard._remedies import Advice

LocatedBy = Literal["traceback", "backward", "retrace", "text", "unknown"]

WIDTH = 80
MOST_CANDIDATES = 8

CONTROL = "nothing changed"
"""The replay that the others are compared with."""


@dataclass(frozen=True)
class Replay:
    """The failed call once more, on copies, with one thing changed.

    Attributes:
        change: what was changed, such as ``cuDNN disabled``; ``nothing changed`` is the control.
        succeeds: whether the call then worked.
        error: the first line of what it raised, or None.

    """

    change: str
    succeeds: bool
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the replay as JSON-ready values."""
        return {"change": self.change, "succeeds": self.succeeds, "error": self.error}


@dataclass(frozen=True)
class Hypothesis:
    """One possible cause of an error whose words do not tell: how likely, from 0 to 1, and why."""

    cause: str
    confidence: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Return the hypothesis as JSON-ready values."""
        return {"cause": self.cause, "confidence": self.confidence, "why": self.why}


@dataclass(frozen=True)
class Diagnosis:
    """Which layer failed, in which call, and why. What is not known is None.

    Attributes:
        cause: such as ``one-value-per-channel`` or ``cudnn-not-supported``.
        code: the rule's code, ``RT101`` to ``RT104``, or None.
        confidence: 0 to 1, that the cause is the cause; 1 is proven, by a replay that differs in nothing else.
        evidence: what speaks for it, one sentence each.
        hypotheses: for an error whose words do not tell its cause: the possible ones, likeliest first.
        layer: dotted name, also that of the module around a functional call; '' is the root. None where it
            cannot be known: then see ``candidates``.
        aliases: further names of the same instance.
        layer_type: its class, or ``functional`` for a call made outside a normalisation layer.
        kind: the name of the call's kind in ``bnguard._facts.norm_kinds``.
        num_features: of the layer.
        candidates: the layers that it can have been.
        source: the line that built the layer, or the line of a functional call.
        place: how the layer was found: from the frames of the ``traceback``, from the graph after a failed
            ``backward``, by a ``retrace`` on shapes, from the ``text`` of the error, or not at all.
        shape: of the input, with dtype, device and strides.
        param_dtype: of weight and bias, or of the running statistics.
        contiguous: of the input.
        memory_format: ``contiguous``, ``channels_last``, ``channels_last_3d`` or ``strided``.
        mode: of the layer.
        batch_statistics: whether the call used the statistics of its own input.
        eps: as given to the call.
        values_per_channel: ``numel / shape[1]``: the number that decides.
        backend: the kernel family that PyTorch chooses for the call: ``cudnn``, ``native`` …
        cudnn_version: of the installed cuDNN, where the call was on CUDA; likewise ``gpu`` and ``free_memory`` (bytes).
        rank: of this process among ``world_size``.
        status: the ``CUDNN_STATUS_…`` word of the text.
        situation: the circumstances of the call, as far as its frames or the log show them.
        suspected: whether a normalisation layer is only suspected: any layer fails with such words, and nothing else
            tells which one did.
        replays: the failed call once more, with one thing changed at a time.
        remedies: what to do, the surest first.
        next_command: the command to go on with, where the script is at hand: the edit of its source if that is known,
            else what finds out more.

    """

    cause: str = "unknown"
    code: str | None = None
    confidence: float = 0.0
    evidence: tuple[str, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    layer: str | None = None
    aliases: tuple[str, ...] = ()
    layer_type: str | None = None
    kind: str | None = None
    num_features: int | None = None
    candidates: tuple[str, ...] = ()
    source: SourceLine | None = None
    place: LocatedBy = "unknown"
    shape: tuple[int, ...] | None = None
    dtype: str | None = None
    param_dtype: str | None = None
    device: str | None = None
    strides: tuple[int, ...] | None = None
    contiguous: bool | None = None
    memory_format: str | None = None
    mode: Mode | None = None
    batch_statistics: bool | None = None
    eps: float | None = None
    values_per_channel: int | None = None
    backend: str | None = None
    cudnn_version: int | None = None
    gpu: str | None = None
    free_memory: int | None = None
    rank: int | None = None
    world_size: int | None = None
    status: str | None = None
    situation: Situation | None = None
    suspected: bool = False
    replays: tuple[Replay, ...] = ()
    remedies: tuple[Advice, ...] = ()
    next_command: str | None = None

    @property
    def workarounds(self) -> tuple[str, ...]:
        """What to do, a clause each, the surest first."""
        return tuple(advice.text for advice in self.remedies)

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as JSON-ready values."""
        document = {f.name: _plain(getattr(self, f.name)) for f in fields(self)}
        return document | {"workarounds": list(self.workarounds)}

    def text(self) -> str:
        """Return the diagnosis for people, in lines of at most 80 columns; a command stays in one piece."""
        lines = [f"bnguard: {headline(self)}", *_rows(self)]
        lines = [wrapped for line in lines for wrapped in _wrap(line)]
        if self.next_command is not None:
            lines.append(f"  {'next':9}{self.next_command}")  # in one piece, however long it is
        return "\n".join(lines)


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


ONE_VALUE = "one-value-per-channel"

CAUSES = {
    ONE_VALUE: "one value per {per}, and a mean and variance need two",
    "dtype-mismatch": "the input and the parameters have dtypes that do not go together",
    "channel-mismatch": "the input has another number of channels than the layer",
    "rank-mismatch": "the input has another number of dimensions than the layer takes",
    "out-of-memory": "there was not enough memory",
    "overwritten-in-place": "a tensor that backward needs was overwritten before it",
    "asynchronous-cuda": "an earlier CUDA kernel failed",
    "eps-not-positive": "eps is not positive",
    "unknown": "for a reason that bnguard does not know",
}


def headline(d: Diagnosis) -> str:
    """Return what failed and why, in one clause."""
    if (
        d.layer is None and d.code is None and not d.candidates and not d.suspected
    ):  # the words of any error, and no layer in sight
        if d.cause == "unknown":
            return "nothing in this error points to a normalisation layer"
        return f"no normalisation layer is in sight: {_cause(d)}"
    where = " in backward" if d.place == "backward" else ""
    if d.suspected:
        return f"perhaps a normalisation layer failed{where}: {_cause(d)}"
    who = "a normalisation layer" if d.layer is None else (d.layer or "the model itself")
    if d.layer is not None:
        who += _description(d)
    return f"{who} failed{where}: {_cause(d)}"


def _kind(d: Diagnosis) -> NormKind:
    return KINDS[d.kind] if d.kind else BATCH


def _cause(d: Diagnosis) -> str:
    return CAUSES.get(d.cause, d.status or d.cause).format(per=_kind(d).per)


def _description(d: Diagnosis) -> str:
    functional = d.layer_type == "functional"
    kind = class_text(d.layer_type or "a layer", d.num_features)
    also = f", also {', '.join(d.aliases)}" if d.aliases else ""
    line = f", {'called' if functional else 'built'} at {d.source.short}" if d.source else ""
    return f" ({kind}{also}{line})"


def _rows(d: Diagnosis) -> list[str]:
    rows = [("input", _input(d)), ("batch", _batch(d)), ("backend", _backend(d)), ("process", _process(d))]
    rows.append(("layer", _candidates(d)))
    if d.confidence:
        sure = "proven by replay" if d.confidence == 1 else f"{d.confidence:.0%} sure"
        rows.append(("cause", f"{f'{d.code}, ' if d.code else ''}{d.cause} ({sure})"))
    rows += [("because", why) for why in d.evidence]
    rows += [("perhaps", f"{h.cause} ({h.confidence:.0%}): {h.why}") for h in d.hypotheses]
    known = {r.error for r in d.replays if r.change == CONTROL}
    rows += [("replay", _replay(r, known)) for r in d.replays]
    rows += [("try", way) for way in d.workarounds]
    lines, last = [], None
    for title, text in rows:
        if text:
            lines.append(f"  {title if title != last else '':9}{text}")
            last = title
    return lines


def _input(d: Diagnosis) -> str:
    if d.shape is None:
        return ""
    parts = [f"{d.shape} {d.dtype or ''}".rstrip()]
    parts += [f"on {d.device}"] if d.device else []
    parts += [f"{d.memory_format}{f', strides {d.strides}' if d.memory_format == 'strided' else ''}"] * bool(
        d.memory_format
    )
    parts += [f"parameters {d.param_dtype}"] if d.param_dtype and d.param_dtype != d.dtype else []
    parts += [f"{d.mode} mode"] if d.mode else ["normalised by its own statistics"] if d.batch_statistics else []
    return ", ".join([*parts, *_values(d)])


def _values(d: Diagnosis) -> list[str]:
    """Say over how many values a mean is taken, where the shape alone tells."""
    kind = _kind(d)
    if d.shape is None or len(d.shape) < 2 or kind.options:
        return []
    values = kind.values(d.shape, {})
    return [f"{values} {'value' if values == 1 else 'values'} per {kind.per}"]


def _batch(d: Diagnosis) -> str:
    """Say which batch it was, and how many samples the model was called with where the layer got fewer."""
    at = d.situation
    if at is None:
        return ""
    cut = at.batch_size is not None and d.shape is not None and at.batch_size > d.shape[0]
    of = f"{f'{at.place} of' if at.place else 'from'} {at.loader}" if at.loader else ""
    size = f"the model was called with {at.batch_size} samples" if cut else ""
    return ", ".join(part for part in (of, size) if part)


def _backend(d: Diagnosis) -> str:
    parts = [d.backend or ""]
    parts += [f"cuDNN {d.cudnn_version}"] if d.cudnn_version else []
    parts += [d.gpu] if d.gpu else []
    parts += [f"{d.free_memory / 2**20:,.0f} MiB free"] if d.free_memory is not None else []
    return ", ".join(p for p in parts if p)


def _process(d: Diagnosis) -> str:
    return f"rank {d.rank} of {d.world_size}" if d.rank is not None and (d.world_size or 1) > 1 else ""


def _candidates(d: Diagnosis) -> str:
    if d.layer is not None:
        return ""
    if not d.candidates:
        which = (
            "which one, and whether it was one at all, cannot be told" if d.suspected else "which one cannot be told"
        )
        return which if d.code is not None else ""
    more = len(d.candidates) - MOST_CANDIDATES
    shown = ", ".join(c or "(the model itself)" for c in d.candidates[:MOST_CANDIDATES])
    return f"which one cannot be told; it can be {shown}{f' and {more} more' if more > 0 else ''}"


def _replay(r: Replay, known: set[str | None]) -> str:
    """Say what a replay did; an error is worth its words only where it is another than that of the failed call."""
    if r.succeeds:
        return f"this call succeeds with {r.change}"
    return f"this call fails with {r.change}" + (f": {r.error}" if r.error not in known else "")


def _wrap(line: str) -> list[str]:
    return textwrap.wrap(line, WIDTH, subsequent_indent=" " * 11, break_on_hyphens=False)
