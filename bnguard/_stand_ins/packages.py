"""Stand-ins for packages that a model's file imports but does not need for its shapes (``--stub wandb``)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType, new_class
from typing import Any


def _refuse_special(name: str) -> None:
    """Raise for a name such as ``__len__``: a stand-in that had them all would be taken for anything."""
    if name.startswith("__") and name.endswith("__"):
        raise AttributeError(name)


def _other(_: Any, other: Any) -> Any:  # noqa: ANN401 - whatever the other operand is
    """Leave the other operand of arithmetic as it is: a loss to which a stand-in is added is still that loss."""
    return other


def _no(_: Any, other: object) -> bool:  # noqa: ANN401, ARG001
    """Answer a comparison, such as that of a version."""
    return False


def _itself(anything: Any, *_: Any) -> Any:  # noqa: ANN401
    return anything


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "xor", "lshift", "rshift")
_OPERATORS: dict[str, Callable[..., Any]] = {
    **{f"__{side}{name}__": _other for name in _BINARY for side in ("", "r")},
    **{f"__{name}__": _no for name in ("lt", "le", "gt", "ge")},
    **{f"__{name}__": _itself for name in ("neg", "pos", "abs", "invert", "round", "enter")},
    "__float__": lambda _: 0.0,
    "__int__": lambda _: 0,
    "__contains__": _no,
    "__setitem__": lambda *_: None,
    "__delitem__": lambda *_: None,
    "__exit__": lambda *_: None,
    "__iter__": lambda _: iter(()),
    "__format__": lambda anything, _: str(anything),
}
"""What a stand-in answers, as a class (``package.PI``) and as an object (``package.pi()``).

Not ``__index__`` nor ``__len__``: a layer of a stand-in's size would be one of size 0, and nobody would be told.
"""


class _AnyMeta(type):
    """Lets a stand-in class answer for any attribute, and for what is done with an object: ``package.PI * 2``."""

    vars().update(_OPERATORS)

    def __getitem__(cls, key: object) -> Any:  # noqa: ANN401 - a stand-in for anything
        return cls

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwargs: Any) -> Any:  # noqa: ANN401
        """Make the class; a stand-in beside a real base would get in its way, as with ``(Mixin, nn.Module)``."""
        real = tuple(b for b in bases if not ("_stand_in" in vars(b) and issubclass(b, _Anything)))
        if real and real != bases:
            return new_class(name, real, kwargs, lambda body: body.update(namespace))
        return super().__new__(mcs, name, bases, namespace)

    def __getattr__(cls, name: str) -> Any:  # noqa: ANN401 - a stand-in for anything
        _refuse_special(name)
        return stand_in(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a stand-in for anything
        # used as a decorator (`@package.jit`) it leaves the function in place; a user's subclass is built as usual
        if "_stand_in" in cls.__dict__ and len(args) == 1 and not kwargs and callable(args[0]):
            return args[0]
        return super().__call__(*args, **kwargs)


class _Anything(metaclass=_AnyMeta):
    """A stand-in: can be called, subclassed, used as a decorator, computed with, iterated (empty) and entered."""

    vars().update(_OPERATORS)

    def __init_subclass__(cls, **_: Any) -> None:  # noqa: ANN401
        """Take any keyword of a class statement."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - a stand-in for anything
        pass

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a stand-in for anything
        _refuse_special(name)
        return stand_in(name)()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a stand-in for anything
        """Give the stand-in itself, or as a decorator leave the function in place."""
        return args[0] if len(args) == 1 and not kwargs and callable(args[0]) else self

    def __getitem__(self, key: object) -> Any:  # noqa: ANN401 - a stand-in for anything
        return stand_in(str(key) if str(key).isidentifier() else "item")()

    def __bool__(self) -> bool:
        return False


def stand_in(name: str) -> type:
    """Return a new stand-in class of that name; one called ``…Module`` is a base class for models."""
    if name.endswith(("Error", "Exception")):  # for `except package.SomeError`
        return type(name, (Exception,), {"_stand_in": True})
    torch = sys.modules.get("torch")
    base = _module_base(torch.nn.Module) if torch is not None and name.endswith("Module") else _Anything
    made: type = _AnyMeta(name, (base,), {"_stand_in": True})
    return made


@lru_cache(maxsize=1)
def _module_base(module: Any) -> type:  # noqa: ANN401 - nn.Module; this file does not import torch
    """Return a stand-in for ``LightningModule``, ``BaseModule`` and the like: an nn.Module with any method."""

    def __init__(self: Any, *_: Any, **__: Any) -> None:  # noqa: ANN401, N807
        module.__init__(self)

    def __getattr__(self: Any, name: str) -> Any:  # noqa: ANN401, N807
        try:
            return module.__getattr__(self, name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return stand_in(name)()

    made: type = _AnyMeta("AnyModule", (module,), {"__init__": __init__, "__getattr__": __getattr__})
    return made


class _StubModule(ModuleType):
    __path__: list[str] = []  # noqa: RUF012 - a package, so that submodules are asked for
    __version__ = "0.0.0"

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a stand-in for anything
        _refuse_special(name)
        value = stand_in(name)
        setattr(self, name, value)
        return value


class _StubFinder(MetaPathFinder, Loader):
    def __init__(self, names: Sequence[str], tell: Callable[[str], None]) -> None:
        self._names = tuple(names)
        self._tell = tell

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002
        name = next((n for n in self._names if f"{fullname}.".startswith(f"{n}.")), None)
        if name is None:
            return None
        self._tell(name)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StubModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def is_stand_in(value: object) -> bool:
    """Whether a value is a stand-in's, or of a class that is derived from one."""
    kind = value if isinstance(value, type) else type(value)
    return isinstance(value, _StubModule) or any("_stand_in" in vars(base) for base in kind.__mro__)


@contextmanager
def stubbed(names: Sequence[str], tell: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Within the block, importing any of these packages or what is below them gives a stand-in.

    ``tell`` is called with the name of a package whenever it is asked for, or a part of it.
    """
    if not names:
        yield
        return
    finder = _StubFinder(names, tell)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n, m in sys.modules.items() if isinstance(m, _StubModule)]:
            _remove(name)


def _remove(name: str) -> None:
    stub = sys.modules.pop(name)
    parent, _, leaf = name.rpartition(".")
    package = vars(sys.modules[parent]) if parent in sys.modules else {}
    if package.get(leaf) is stub:  # a real package, of which one part was stood in for
        del package[leaf]


def missing(name: str) -> tuple[str, str]:
    """Say of a module that cannot be imported what is missing, and how to go on."""
    root = name.partition(".")[0]
    if is_installed(root):
        hint = f"another version of the package may have it, or go on without it: --stub {name}"
        return f"{name!r}, which its package does not have", hint
    return f"{root!r}, which is not installed", f"pip install it, or go on without it: --stub {root}"


def is_installed(package: str) -> bool:
    """Say whether a package or module can be found."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a module without a spec, such as __main__
        return True
    except ModuleNotFoundError:
        return False
