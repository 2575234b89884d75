"""Functions that write files in C, C++ or Rust, where Python's audit hooks see nothing: each says so when it is called.

They are wrapped when their module is imported, not before: nothing is imported for their sake. What is missing in this
table is found by the listing, afterwards.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple, Protocol


class Writer(NamedTuple):
    """Where a function or method takes its path, and where the mode in which it opens it, if it has one."""

    name: str
    path: int
    keyword: str
    mode: int | None = None


class Tell(Protocol):
    """Is told a path, or what else was given, before it is written."""

    def __call__(self, path: object, *, truncates: bool) -> None:
        """Be told."""


WRITERS: dict[str, tuple[Writer, ...]] = {
    "os": (Writer("mkfifo", 0, "path"), Writer("mknod", 0, "path")),
    "torch._C": (Writer("PyTorchFileWriter.__init__", 1, "file_name"),),
    "torch.autograd.profiler": (Writer("profile.export_chrome_trace", 1, "path"),),
    "torch.jit._script": (Writer("RecursiveScriptModule.save", 1, "f"),),
    "torch.jit._serialization": (Writer("save", 1, "f"),),
    "safetensors._safetensors_rust": (Writer("serialize_file", 1, "filename"),),
    "torchvision.io.image": (Writer("write_file", 0, "filename"),),
    "torchaudio": (Writer("save", 0, "uri"),),
    "h5py._hl.files": (Writer("File.__init__", 1, "name", mode=2),),
    "cv2": (Writer("imwrite", 0, "filename"), Writer("imwritemulti", 0, "filename")),
    "pyarrow.parquet.core": (Writer("ParquetWriter.__init__", 1, "where"),),
    "pyarrow.feather": (Writer("write_feather", 1, "dest"),),
    "pyarrow.csv": (Writer("write_csv", 1, "output_file"),),
    "polars.dataframe.frame": (
        Writer("DataFrame.write_csv", 1, "file"),
        Writer("DataFrame.write_parquet", 1, "file"),
        Writer("DataFrame.write_ipc", 1, "file"),
        Writer("DataFrame.write_ndjson", 1, "file"),
    ),
    "soundfile": (Writer("write", 0, "file"),),
    "faiss": (Writer("write_index", 1, "fname"),),
    "lightgbm.basic": (Writer("Booster.save_model", 1, "filename"),),
    "xgboost.core": (Writer("Booster.save_model", 1, "fname"),),
    "tensorflow.python.lib.io.file_io": (Writer("FileIO.__init__", 1, "name", mode=2),),
}


def watch(tell: Tell) -> None:
    """Wrap the writers of modules that are imported already, and of the others as they are imported."""
    for name in WRITERS:
        if name in sys.modules:
            _wrap_all(sys.modules[name], tell)
    sys.meta_path.insert(0, _Finder(tell))


class _Finder:
    """Finds what the others find, and has the module's writers wrapped as soon as it has been executed."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in WRITERS:
            return None
        spec = next(self._found_by_others(fullname, path, target), None)
        if spec is not None and spec.loader is not None:
            self._wrap_after(spec.loader)
        return spec

    def _found_by_others(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> Iterator[ModuleSpec]:
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is not self and find is not None and (spec := find(fullname, path, target)) is not None:
                yield spec

    def _wrap_after(self, loader: Any) -> None:  # noqa: ANN401 - of whatever finder
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _wrap_all(module, self._tell)

        loader.exec_module = exec_module


def _wrap_all(module: ModuleType, tell: Tell) -> None:
    for writer in WRITERS[module.__name__]:
        *path, name = writer.name.split(".")
        try:
            holder = functools.reduce(getattr, path, module)
            setattr(holder, name, _wrapped(getattr(holder, name), writer, tell))
        except (
            AttributeError,
            TypeError,
        ):  # another version, which has no such function, or one that cannot be changed
            continue


def _wrapped(write: Callable[..., Any], writer: Writer, tell: Tell) -> Callable[..., Any]:
    @functools.wraps(write)
    def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the writer's own
        mode = "w" if writer.mode is None else str(_argument(args, kwargs, writer.mode, "mode") or "r")
        if not {"w", "a", "x", "+"}.isdisjoint(mode):
            tell(_argument(args, kwargs, writer.path, writer.keyword), truncates=mode.startswith("w"))
        return write(*args, **kwargs)

    return wrapper


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], position: int, keyword: str) -> object:
    return args[position] if len(args) > position else kwargs.get(keyword)
