"""What really happens in a training script: written down beside it, while it runs as it is.

Python imports this file at its start where the folder is on PYTHONPATH, in the script's process and in those that it
starts. It does nothing until torch is imported, and knows nothing of bnguard: loaders are counted where their iterators
give a batch, a normalisation layer's refusal is seen where PyTorch raises it, and its place is read off the stack.

Each process appends lines of JSON to ``$BNGUARD_RECORD.<pid>``: ``refused`` (a normalisation layer raised) and
``uncaught`` (what ended the process, and whether a normalisation layer's error lies in its chain). ``scripts.py`` reads
them.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any

RECORD = os.environ.get("BNGUARD_RECORD")
CHECKS = ("_verify_batch_size", "_verify_spatial_size")
"""The functions of torch.nn.functional that refuse one value per channel."""
DEPTH = 4
"""How deep batches are searched for tensors."""


@dataclass
class Pass:
    """One iteration over a loader: which loader, which pass over it, how many batches it has given."""

    loader: Any
    number: int
    given: int = 0


@dataclass
class Given:
    """What the loaders of this process have given so far. Batches are kept, so that no storage is used twice."""

    passes: dict[int, Pass] = field(default_factory=dict)
    counts: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)
    places: dict[int, tuple[Pass, int]] = field(default_factory=dict)
    latest: tuple[Pass, int] | None = None

    def start(self, loader: Any, iterator: Any) -> None:
        self.kept += (loader, iterator)
        self.counts[id(loader)] = self.counts.get(id(loader), 0) + 1
        self.passes[id(iterator)] = Pass(loader, self.counts[id(loader)])

    def give(self, iterator: Any, batch: Any) -> None:
        current = self.passes.get(id(iterator))
        if current is None:
            return
        current.given += 1
        self.kept.append(batch)
        self.latest = current, current.given
        for tensor in tensors(batch):
            self.places.setdefault(storage(tensor), self.latest)


GIVEN = Given()


def tensors(value: Any, depth: int = DEPTH) -> Iterator[Any]:
    """Every tensor in a batch: nested containers, dataclasses, graphs and other objects with attributes."""
    torch = sys.modules["torch"]
    if isinstance(value, torch.Tensor):
        yield value
    elif depth == 0 or isinstance(value, (str, bytes, int, float, torch.nn.Module, type, ModuleType)):
        return
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors(part, depth - 1)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors(part, depth - 1)
    elif hasattr(value, "__dict__") and not callable(value):
        yield from tensors(vars(value), depth - 1)


def storage(tensor: Any) -> int:
    """Which memory a tensor looks at; a tensor without any is nothing that a loader gave."""
    try:
        return int(tensor.untyped_storage().data_ptr())
    except (RuntimeError, NotImplementedError):
        return 0


def write(event: str, **values: Any) -> None:
    with Path(f"{RECORD}.{os.getpid()}").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"event": event, "process": os.getpid(), "rank": rank(), **values}) + "\n")


def rank() -> int:
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return int(os.environ.get("RANK", "0"))


# Where: the layer, and the batch


def stack(frame: FrameType | None, trace: TracebackType | None = None) -> list[FrameType]:
    """Return the frames from the outermost to the one that raises."""
    outer = []
    while frame is not None:
        outer.append(frame)
        frame = frame.f_back
    inner = []
    while trace is not None:
        inner.append(trace.tb_frame)
        trace = trace.tb_next
    return outer[::-1] + inner


def place(frames: list[FrameType]) -> dict[str, Any]:
    """Say which layer stands innermost on the stack, under its name in its root, and which batch leads there."""
    module = sys.modules["torch"].nn.Module
    owners = [(f, s) for f in frames if isinstance(s := f.f_locals.get("self"), module)]
    layer = owners[-1][1] if owners else None
    holding = [(f, m) for f, m in owners if any(part is layer for part in m.modules())]
    called = [m for f, m in holding if f.f_code.co_name in {"_wrapped_call_impl", "_call_impl", "__call__"}]
    scripted = isinstance(layer, sys.modules["torch"].jit.ScriptModule)  # its layers leave no frames
    roots = [] if scripted else [m for _, m in holding[:1]] + called[:1]
    names = [next(name for name, part in root.named_modules() if part is layer) for root in roots]
    return {
        "layers": list(dict.fromkeys(names)),
        "type": type(layer).__name__ if layer is not None and not scripted else None,
        **fed(frames, called[0] if called else None),
    }


def fed(frames: list[FrameType], root: Any) -> dict[str, Any]:
    """Say which batch the failing call works on: found by the memory of the tensors on the stack, innermost first.

    ``fed`` says that the batch was seen in the root's own call or further in. Otherwise (False) it is the batch that
    the loop around the call holds (noise of a generator, a batch that was converted), or the one given last; or (None)
    rows of several batches lie around there, and no step can be named.
    """
    first = next((i for i, f in enumerate(frames) if f.f_locals.get("self") is root), len(frames))
    for i in range(len(frames) - 1, -1, -1):
        values = {k: v for k, v in frames[i].f_locals.items() if k != "self"}
        found = [GIVEN.places[p] for t in tensors(values, 3) if (p := storage(t)) in GIVEN.places]
        if found and (i >= first or all(place == found[0] for place in found)):
            return describe(found[0], frames, fed=i >= first)
        if found:
            return describe(None, frames, fed=None)
    return describe(GIVEN.latest, frames, fed=False)


def describe(found: tuple[Pass, int] | None, frames: list[FrameType], *, fed: bool | None) -> dict[str, Any]:
    if found is None:
        return {"loaders": [], "pass": None, "step": None, "fed": fed}
    current, step = found
    names = [n for f in frames for n in holders(f.f_locals, current.loader)]
    names += holders(frames[0].f_globals if frames else {}, current.loader)
    return {"loaders": sorted(set(names)), "pass": current.number, "step": step, "fed": fed}


def holders(values: dict[str, Any], loader: Any) -> list[str]:
    """Name the variables, attributes and entries that hold a loader."""
    names = []
    for name, value in list(values.items()):
        if value is loader:
            names.append(name)
        elif isinstance(value, dict):
            names += [str(key) for key, part in value.items() if part is loader]
        elif name == "self" and hasattr(value, "__dict__"):
            names += holders(vars(value), loader)
    return names


# What is watched


def watch_functional(functional: ModuleType) -> None:
    """Note each refusal. TorchScript compiles these functions, so that it is given the originals."""
    originals = {name: getattr(functional, name) for name in CHECKS}

    def noting(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def check(size: Any) -> None:
            try:
                original(size)
            except ValueError as error:
                frames = stack(sys._getframe(1))
                write("refused", error=type(error).__name__, size=[int(n) for n in size], **place(frames))
                raise

        return check

    def put(functions: dict[str, Callable[..., None]]) -> None:
        for name, function in functions.items():
            setattr(functional, name, function)

    watched = {name: noting(original) for name, original in originals.items()}
    functional.__dict__["_recorded"] = (put, originals, watched)
    put(watched)


def watch_script(script_module: ModuleType) -> None:
    original = script_module.script

    @functools.wraps(original)
    def script(*args: Any, **kwargs: Any) -> Any:
        recorded = sys.modules["torch.nn.functional"].__dict__.get("_recorded")
        if recorded is None:
            return original(*args, **kwargs)
        put, originals, watched = recorded
        put(originals)
        try:
            return original(*args, **kwargs)
        finally:
            put(watched)

    script_module.__dict__["script"] = script


def watch_loader(dataloader: ModuleType) -> None:
    start, give = dataloader.DataLoader.__iter__, dataloader._BaseDataLoaderIter.__next__

    @functools.wraps(start)
    def iterate(self: Any) -> Any:
        iterator = start(self)
        GIVEN.start(self, iterator)
        return iterator

    @functools.wraps(give)
    def following(self: Any) -> Any:
        batch = give(self)
        GIVEN.give(self, batch)
        return batch

    dataloader.DataLoader.__iter__ = iterate
    dataloader._BaseDataLoaderIter.__next__ = following


WATCHED: dict[str, Callable[[ModuleType], None]] = {
    "torch.nn.functional": watch_functional,
    "torch.jit._script": watch_script,
    "torch.utils.data.dataloader": watch_loader,
}


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules to be watched as anyone would, and watches them once they are loaded."""

    def find_spec(self, name: str, _path: Any, _target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in WATCHED:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def load(module: ModuleType) -> None:
                execute(module)
                WATCHED[name](module)

            spec.loader.exec_module = load  # type: ignore[method-assign]
        return spec


# How the process ended


def chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def of_normalisation(error: BaseException) -> bool:
    """Whether a normalisation layer's own code raised it, or a TorchScript interpreter that ran such a layer."""
    if "Expected more than 1 value per channel" in str(error) or "Expected more than 1 spatial" in str(error):
        return True
    frames = stack(None, error.__traceback__)
    files = ("batchnorm.py", "instancenorm.py", "normalization.py")
    return bool(frames) and Path(frames[-1].f_code.co_filename).name in files


def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause = next((e for e in chain(error) if of_normalisation(e)), None)
    frames = stack(None, cause.__traceback__) if cause is not None else []
    where = place(frames) if frames and "torch" in sys.modules else {}
    write("uncaught", error=kind.__name__, text=str(error)[:200], normalisation=cause is not None, **where)
    sys.__excepthook__(kind, error, trace)


if RECORD:
    sys.meta_path.insert(0, Finder())
    sys.excepthook = uncaught
