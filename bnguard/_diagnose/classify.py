"""Error texts → causes: the wordings of PyTorch from 0.2 to 2.14 and of cuDNN 5 to 9, in one table. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bnguard._facts.norm_kinds import KINDS
from bnguard._rules.runtime import code_of


@dataclass(frozen=True)
class Classified:
    """What the words of an error say.

    Attributes:
        cause: such as ``one-value-per-channel``, ``cudnn-not-supported`` or ``unknown``.
        code: the rule's code, ``RT101`` to ``RT104``, or None where the error is not about normalisation.
        status: the ``CUDNN_STATUS_…`` word of the text, or None.
        shape: the input's shape, where the text says it.
        kind: of the normalisation, where only one kind has these words.
        dimensions: how many the input has, where the text says so in place of the shape.
        names_norm: whether the words are those of a normalisation alone, or name one; any layer can have the others.

    """

    cause: str
    code: str | None = None
    status: str | None = None
    shape: tuple[int, ...] | None = None
    kind: str | None = None
    dimensions: int | None = None
    names_norm: bool = True

    @property
    def reliable_place(self) -> bool:
        """Whether the error comes from the call that the traceback shows; CUDA reports some later."""
        return self.cause not in _DELAYED

    @property
    def of_cudnn(self) -> bool:
        """Whether cuDNN said so, whose words tell no cause."""
        return self.cause.startswith("cudnn-")


_STATUS = re.compile(r"\bCUDNN_STATUS_(?!SUCCESS\b)([A-Z0-9_]+)")

_FAMILIES = (
    "NOT_SUPPORTED", "EXECUTION_FAILED", "BAD_PARAM", "NOT_INITIALIZED", "INTERNAL_ERROR", "ALLOC_FAILED",
    "MAPPING_ERROR", "ARCH_MISMATCH", "INVALID_VALUE",
)  # fmt: skip
"""cuDNN 9 appends details to these: ``CUDNN_STATUS_NOT_SUPPORTED_LAYOUT``, ``CUDNN_STATUS_EXECUTION_FAILED_CUDART``."""

_DELAYED = ("cudnn-execution-failed", "cudnn-mapping-error", "asynchronous-cuda")
"""Causes that a kernel launched earlier can leave behind for the next call to report."""

_NORM = r"batch[ _-]?norm\w*"
_TOO_FEW = (
    r"\b(?:single|(?:only|just) (?:one|1)) (?:value|sample|element|example|item|image)\b",
    r"\b(?:more|greater|larger) than (?:1|one) (?:value|sample|element|example|item|image)s?\b",
    r"\bat least (?:2|two) (?:value|sample|element|example|item|image)s?\b",
    r"size (?:\w+ ){0,4}(?:>|>=|(?:more|greater|larger) than|at least) ?(?:1|2|one|two)\b",
)
_OF_OTHERS = tuple(p for few in _TOO_FEW for p in (rf"{_NORM}.{{0,100}}{few}", rf"{few}.{{0,100}}{_NORM}"))
"""What frameworks and models say in their own words when they look at the batch before a layer does.

Ultralytics: "final batch=1 training at imgsz=32 gives BatchNorm a single value per channel". BYOL: "you must have
greater than 1 sample when training, due to the batchnorm in the projection layer". Synchronized-BatchNorm-PyTorch:
"BatchNorm computes unbiased standard-deviation, which requires size > 1."
"""

_WORDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "one-value-per-channel",
        tuple(dict.fromkeys(f.refusal for kind in KINDS for f in kind.functions if f.refusal)),
    ),
    (
        "rank-mismatch",
        (
            r"expected (?:\d+D(?: or \d+D)?|at least \d+D) input \(got \d+D input\)",
            r"expected at least 2 dimensions for input tensor but received",
        ),
    ),
    (
        "channel-mismatch",
        (
            r"(?:running_mean|running_var|weight|bias) should contain \[?\d+\]? elements,? not \[?\d+",
            r"expected input's size at dim=\d+ to match num_features",
            r"got \d+-feature tensor, expected",  # 0.1 and 0.2
            r"expected number of channels in input to be divisible by num_groups",
            r"to be a vector of size equal to the number of channels in input",
        ),
    ),
    (
        "dtype-mismatch",
        (
            r"mixed dtype \(CPU\)",
            r"expected scalar type \w+ but found \w+",
            r"expected object of (?:scalar type|data type|backend and type) .{1,60} but got",
            r"(?:same type|scalar type).{0,160}while checking arguments for (?:cudnn_|miopen_|native_)?batch_norm",
            r"[\"']\w*batch_norm\w*[\"'] not implemented for",
            r"BatchNormalization_updateOutput is not implemented for type",
        ),
    ),
    ("overwritten-in-place", (r"modified by an in-?place operation",)),
    ("eps-not-positive", (r"batch_norm eps must be positive",)),
    (
        "out-of-memory",
        (
            r"\b(?:CUDA|HIP|XPU|MPS backend) out of memory",
            r"(?:CUDA|HIP) error:? out of memory",
            r"cuda runtime error \(2\)",
            r"\bOutOfMemoryError\b",
            r"C[UA]BLAS_STATUS_ALLOC_FAILED",
            r"DefaultCPUAllocator: (?:can't allocate|not enough) memory",
        ),
    ),
    (
        "cudnn-not-supported",
        (
            r"no valid engine configs",
            r"no execution plans support the graph",
            r"\bcudnnGraphNotSupportedError\b",
            r"unable to find an engine to execute this computation",
        ),
    ),
    (
        "asynchronous-cuda",
        (
            r"kernel errors might be asynchronously reported",
            r"device-side assert",
            r"(?:CUDA|HIP) error: ",
            r"cuda runtime error \(\d+\)",
        ),
    ),
    ("one-value-per-channel", _OF_OTHERS),
)
"""Cause and wordings; the first row that matches wins, so the specific rows stand above the general ones."""

_TABLE = tuple((cause, re.compile("|".join(wordings), re.IGNORECASE)) for cause, wordings in _WORDINGS)

_REFUSALS = {
    refusal: {kind.name for kind in KINDS for f in kind.functions if f.refusal == refusal}
    for refusal in dict.fromkeys(f.refusal for kind in KINDS for f in kind.functions if f.refusal)
}

_OF_ANY_LAYER = ("dtype-mismatch", "out-of-memory", "asynchronous-cuda", "overwritten-in-place", "unknown")
_NAMES_NORM = re.compile(r"batch[ _-]?norm|instance_?norm|group_?norm|\bnorm_(?:fwd|bwd)|mixed dtype", re.IGNORECASE)

_SHAPE = re.compile(r"got input size\s*(?:torch\.Size\()?[\[(]([\d,\s]{1,200})[\])]", re.IGNORECASE)
_DIMENSIONS = re.compile(r"\(got (\d)D input\)")
_WRAPPED = re.compile(r"(?<=\d)[^\S\n]*\n\s*(?=\d)")
_SIZES = re.compile(r"\s*\d{1,12}(?:\s*,\s*\d{1,12})*\s*,?\s*")


def classify(text: str, exception_type: str | None = None) -> Classified:
    """Say what an error is about, from its words alone.

    Args:
        text: the message, alone or with the traceback around it.
        exception_type: the exception's class name, such as ``OutOfMemoryError``, where it is known.

    """
    shape = _shape_in(text)
    text = " ".join(text.split())  # a log may have wrapped the sentence
    status = _STATUS.search(text)
    if status:
        family = next((known for known in _FAMILIES if status[1].startswith(known)), status[1])
        cause = "cudnn-" + family.lower().strip("_").replace("_", "-")
    else:
        words = f"{exception_type}: {text}" if exception_type else text
        cause = next((cause for cause, pattern in _TABLE if pattern.search(words)), "unknown")
    of_any = cause.startswith("cudnn-") or cause in _OF_ANY_LAYER
    names_norm = not of_any or _NAMES_NORM.search(text) is not None
    got = _DIMENSIONS.search(text)
    return Classified(
        cause,
        code_of(cause),
        status[0] if status else None,
        shape,
        _kind_in(text),
        int(got[1]) if got else None,
        names_norm,
    )


def _shape_in(text: str) -> tuple[int, ...] | None:
    """Return the shape that the text says, also where a line ends within it; None where it is not a list of sizes."""
    found = _SHAPE.search(text)
    sizes = _WRAPPED.sub("", found[1]) if found else ""
    return tuple(int(size) for size in sizes.split(",") if size.strip()) if _SIZES.fullmatch(sizes) else None


def _kind_in(text: str) -> str | None:
    said = [kinds for refusal, kinds in _REFUSALS.items() if re.search(refusal, text, re.IGNORECASE)]
    return next(iter(said[0])) if len(said) == 1 and len(said[0]) == 1 else None
