"""What a log tells of the run around the failed call: its function, its loader, its batch size, its place. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnguard._diagnose.evidence import Pasted
from bnguard._diagnose.log_text import NOTEBOOK_CELL, Frame
from bnguard._diagnose.module_path import Operation
from bnguard._facts.situation import Alone, Situation, does_not_train, probe_of

_LIBRARY = re.compile(r"[\\/](?:site|dist)-packages[\\/]|^<frozen |[\\/]lib[\\/]python3")
_TYPED_IN = re.compile(r"^<(?:stdin|string|console)>$")
_IN_A_NOTEBOOK = re.compile(rf"^(?:<ipython-input.*|{NOTEBOOK_CELL}|.*[\\/]ipykernel_\d+[\\/].*)$")
_REPLICA = re.compile(r"Caught \w+ in replica (\d{1,6}) on device|[\\/]parallel_apply\.py|[\\/]data_parallel\.py")
_CHUNKS = re.compile(r"\bfor \w+ in \w*(?:chunks?|splits?)\b|\bghost|\bGBN\b|virtual_batch_size", re.IGNORECASE)
_ROWS = re.compile(r"[\\/](?:torch_geometric|dgl|MinkowskiEngine|spconv|torchsparse|torch_points3d)[\\/]")
"""Libraries whose rows are nodes, points or voxels: the data choose how many a layer gets."""

_BATCH_SIZE = re.compile(
    r"(?<![\w-])(?<!final )(?<!last )(?:--?)?(?:train_|training_|per_device_train_|micro_|train_micro_)?"
    r"(?:batch[-_ ]?size(?:_per_gpu)?|(?:samples|imgs|videos)_per_gpu|bs|batch)"
    r"(?:['\"],[^)\n]{0,80}?\bdefault)?['\"]?(?:\s*[=:]\s*|\s+(?:of |is )?)(\d{1,7})\b(?!\s*/)",
    re.IGNORECASE,
)
_LAST_BATCH = re.compile(r"\b(?:final|last|tail) batch ?[=:] ?1\b", re.IGNORECASE)  # Ultralytics
_DROPS_LAST = re.compile(r"drop_last['\"]?\s*[=:]\s*True")
_SQUEEZES = re.compile(r"\.squeeze\(\)|torch\.squeeze\([\w.]+\)")
_LOADER = re.compile(r"(?<![\w.])((?:\w+\.){0,4}(?:\w*loader\w*|(?:\w+_)?dl)(?:\[[\"']\w+[\"']\])?)(?!\s*[\w(.=\[])")
_MADE = re.compile(r"^[ \t>]*((?:self\.)?\w+)[ \t]*=[ \t]*(?:\w+\.){0,4}\w*Data[Ll]oader\(", re.MULTILINE)
_LOOP = re.compile(r"\b(?:for|while)\b")
_CALL = re.compile(r"(?<![\w.])((?:\w+\.){0,6}\w+)\(")
_NO_MODELS = {"self.forward", "tqdm", "enumerate", "range", "zip", "len", "print", "next", "iter"}
_METHODS_OF_TENSORS = {"cuda", "to", "float", "half", "long", "unsqueeze", "view", "size", "cpu", "permute", "cat"}

_DONE = r"(?P<done>\d{1,9})/(?P<all>\d{1,9})"
_PROGRESS = (
    re.compile(rf"(?P<what>[^\n\r|]{{0,80}}?):? {{0,4}}\b\d{{1,3}}%\|[^\n\r]{{0,400}}?\| {{0,8}}{_DONE}\b"),  # tqdm
    re.compile(rf"(?P<what>)(?<![\d/]){_DONE} \[\d{{1,4}}:\d\d(?::\d\d)?<"),  # tqdm, its bar on another line
    re.compile(rf"(?P<what>[^\n\r━]{{0,80}})(?<!━)━{{2,300}}[^\n\r]{{0,20}}? {_DONE} "),  # rich
    re.compile(rf"(?P<what>)(?<![\d/]){_DONE} \[[=>.]{{2,200}}\]"),  # Keras
    re.compile(rf"(?P<what>)\[{_DONE} \d\d:\d\d<"),  # fastprogress
)
_OF_EPOCHS = re.compile(r"(?:\w+ing )?(?:epochs?|folds?|trials?|seeds?|runs?):?", re.IGNORECASE)
"""What a bar over whole epochs is called; one over the batches of an epoch has its number as well."""

_PER_EPOCH = re.compile(r"[^\n\]]{0,60}epoch", re.IGNORECASE)
"""What stands behind a bar whose unit is the epoch."""

_END, _START = 20_000, 200_000
"""The bar of the epoch that failed stands in the last lines, the settings in the first; so many characters are read."""

_LONGEST_CODE = 500
"""A longer line is no line of code that calls a model."""


@dataclass(frozen=True)
class _Progress:
    what: str
    done: int
    all: int


def situation_in(text: str, frames: Sequence[Frame], *, one_sample: bool) -> Situation:
    """Return what the log tells: ``frames`` are those of the error, which says or not that it got ``one_sample``."""
    text = _ends(text)
    around = list(_before_the_model(frames))
    progress = _progress(text)
    function = _not_training(around)
    batch_size = _batch_size(text)
    alone = None
    if function is None and _not_training_bar(around, progress) is None:
        alone = _alone(text, frames[len(around) :], progress, batch_size, one_sample=one_sample)
    by_hand = _by_hand(around)
    return Situation(
        function=function,
        fed=False if by_hand else None,
        looped=False if by_hand else None,
        loader=_loader(text, around, trains=function is None),
        model=_model(around, frames),
        alone=alone,
        place=f"step {min(progress.done + 1, progress.all)} of {progress.all}" if progress else None,
    )


def pasted_in(text: str, frames: Sequence[Frame], other: Operation | None) -> Pasted:
    """Return what only a text leaves open, and what it tells besides."""
    text = _ends(text)
    progress = _progress(text)
    return Pasted(
        other=other,
        script=_script(frames),
        notebook=any(_IN_A_NOTEBOOK.match(frame.file) for frame in frames[:1]),
        batch_size=_batch_size(text),
        drops_last=_DROPS_LAST.search(text) is not None,
        evaluating=_not_training_bar(list(_before_the_model(frames)), progress),
        squeezes=_SQUEEZES.search(text) is not None,
    )


def _ends(text: str) -> str:
    return text if len(text) <= _START + _END else f"{text[:_START]}\n{text[-_START:]}"


def _script(frames: Sequence[Frame]) -> str | None:
    """Return the script that was run, None where the text shows none."""
    scripts = (f.file for f in frames if f.function == "<module>" and f.file.endswith(".py"))
    return next((file for file in scripts if not _LIBRARY.search(file) and not _IN_A_NOTEBOOK.match(file)), None)


def _before_the_model(frames: Sequence[Frame]) -> Iterator[Frame]:
    """Yield the frames above the first ``forward``: of the user's loop, and of the libraries that run it."""
    for frame in frames:
        if frame.function.lstrip("_").startswith("forward") or re.search(r"[\\/]nn[\\/]modules[\\/]", frame.file):
            return
        yield frame


def _not_training(around: Sequence[Frame]) -> str | None:
    """Return the innermost function that tells by its name, if it tells that nothing is trained there."""
    probe = next(filter(None, (probe_of(frame.file) for frame in around)), None)
    if probe is not None:
        return probe
    for frame in reversed(around):
        told = does_not_train(frame.function)
        if told is not None:
            return frame.function if told else None
    return None


def _not_training_bar(around: Sequence[Frame], progress: _Progress | None) -> str | None:
    """Return what a progress bar is called, if it tells of an evaluation and no function says anything."""
    if progress is None or any(does_not_train(frame.function) is not None for frame in around):
        return None
    return progress.what if does_not_train(progress.what) else None


def _alone(
    text: str, inside: Sequence[Frame], progress: _Progress | None, batch_size: int | None, *, one_sample: bool
) -> Alone | None:
    if any(_ROWS.search(frame.file) for frame in inside):
        return "rows"
    if any(_CHUNKS.search(line[:_LONGEST_CODE]) for frame in inside for line in (frame.source, *frame.above)):
        return "chunk"
    if _REPLICA.search(text):
        return "piece"
    if _LAST_BATCH.search(text):
        return "tail"
    if progress is not None and progress.all > 1 and batch_size != 1:
        # a bar without a name can be one over epochs: at its start it tells nothing
        first = progress.done == 0 and any(letter.isalpha() for letter in progress.what)
        return "tail" if progress.done >= progress.all - 1 else "every-batch" if first else None
    short = one_sample and batch_size is not None and progress is None and not _DROPS_LAST.search(text)
    return "every-batch" if batch_size == 1 else "tail" if short else None


def _batch_size(text: str) -> int | None:
    """Return the batch size if the text says one, and no other."""
    said = {int(size) for size in _BATCH_SIZE.findall(text)}
    return said.pop() if len(said) == 1 else None


def _progress(text: str) -> _Progress | None:
    """Return the last bar of the text: that of the epoch which was under way."""
    end = text[-_END:]
    found = [m for bar in _PROGRESS for m in bar.finditer(end) if not _PER_EPOCH.match(end, m.end())]
    last = max(found, key=lambda m: (m.end("all"), len(m["what"])), default=None)
    if last is None or int(last["all"]) == 0 or _OF_EPOCHS.fullmatch(last["what"].strip()):
        return None
    return _Progress(last["what"].strip(" :\r\n"), int(last["done"]), int(last["all"]))


def _loader(text: str, around: Sequence[Frame], *, trains: bool) -> str | None:
    """Return what the code calls the loader: in the lines around the call, or where the text shows one made."""
    for frame in reversed(around):
        for line in (frame.source, *reversed(frame.above)):
            named = [name for name in _LOADER.findall(line[:_LONGEST_CODE]) if _is_of(name, trains=trains)]
            if named:
                return str(named[0]) if len(set(named)) == 1 else None
    made = {name for name in _MADE.findall(text) if _is_of(name, trains=trains)}
    return made.pop() if len(made) == 1 else None


def _is_of(name: str, *, trains: bool) -> bool:
    return (does_not_train(name.rpartition(".")[2]) is not True) == trains and not name[:1].isupper()


def _model(around: Sequence[Frame], frames: Sequence[Frame]) -> str | None:
    """Return what the last line above the model calls it, None where the line calls several things."""
    last, following = (around[-1], frames[len(around) : len(around) + 1]) if around else (None, ())
    if last is None or _LIBRARY.search(last.file) or not any(_is_called(frame) for frame in following):
        return None
    called = [
        name.removesuffix(".forward")
        for name in _CALL.findall((last.call or last.source)[:_LONGEST_CODE])
        if name not in _NO_MODELS and name.rpartition(".")[2] not in _METHODS_OF_TENSORS
    ]
    return called[0] if len(called) == 1 else None


def _is_called(frame: Frame) -> bool:
    """Whether the frame is where a module's call begins, and not one further in, the frames between being left out."""
    of_torch = re.search(r"[\\/]torch[\\/]nn[\\/]modules[\\/]", frame.file) is not None
    return re.search(r"[\\/]module\.pyc?$", frame.file) is not None if of_torch else frame.function == "forward"


def _by_hand(around: Sequence[Frame]) -> bool:
    """Whether the model was called at a prompt, or in a cell whose visible lines from the first on hold no loop."""
    if not around or around[-1].function != "<module>":
        return False
    last = around[-1]
    if _TYPED_IN.match(last.file):
        return True
    from_the_top = any(re.match(r"\s*1(?:\s|$)", line) for line in last.above) or last.line == 1
    shown = (*last.above, last.source)
    return bool(_IN_A_NOTEBOOK.match(last.file)) and from_the_top and not any(_LOOP.search(line) for line in shown)
