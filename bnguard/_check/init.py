"""``bnguard check --init``: a commented configuration from what the source of a folder holds."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from bnguard._check.config import OWN_FILE, PROJECT_FILE, parse, section_of
from bnguard._errors import ConfigError
from bnguard._whole_file import write_whole

_MOST_ENTRIES = 20
"""Models, loaders and scripts are written up to this many of each: more are hardly what is trained."""

_GUESSED_SIZE, _FULL_BATCHES = 32, 100
"""A number of samples that nobody gave leaves a tail of one: a check that is not filled in must not look green."""


def write_configuration(folder: Path) -> str:
    """Write ``[tool.bnguard]`` at the end of pyproject.toml, or a new bnguard.toml; return one line that says so.

    Raises:
        ConfigError: there is a configuration already, nothing to write, or no way to write it.

    """
    project = folder / PROJECT_FILE
    taken = f"{OWN_FILE} is there" if (folder / OWN_FILE).exists() else None
    if not taken and project.exists() and section_of(parse(project)) is not None:
        taken = f"{PROJECT_FILE} has a [tool.bnguard]"
    if taken:
        raise ConfigError(f"{taken} already", hint="`bnguard check` goes by it; edit it, or remove it first")
    found = look_through(folder)
    if not (found.models or found.loaders):
        raise ConfigError(
            f"no model class and no DataLoader call in the Python files of {folder}",
            hint='declare a model by hand: [tool.bnguard.models.net] with target = "package.module:Net"',
        )
    file = project if project.exists() else folder / OWN_FILE
    prefix = "tool.bnguard." if file == project else ""
    _write(file, "\n".join(_section(found, prefix)))
    counts = [(len(found.models), "model"), (len(found.loaders), "loader"), (len(found.scripts), "script")]
    what = ", ".join(f"{n} {word}{'s' * (n != 1)}" for n, word in counts if n)
    return f"{file.name}: written from {what}; look at each TODO, then run `bnguard check`"


def _write(file: Path, section: str) -> None:
    file = file.resolve()  # a link stays a link
    before = ""
    if file.exists():
        with file.open(encoding="utf-8", newline="") as stream:
            before = stream.read()
        before += "" if before.endswith("\n") or not before else "\n"
        before += "\n" if before else ""
    if "\r\n" in before:
        before, section = before.replace("\r\n", "\n").replace("\n", "\r\n"), section.replace("\n", "\r\n")
    try:
        write_whole(file, (before + section).encode())
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}", hint="is the folder read-only?") from error


def _section(found: _Sources, prefix: str) -> Iterator[str]:
    yield "# What `bnguard check` looks at before training starts. Every key: docs/reference/configuration.md"
    if prefix:
        yield f"[{prefix.removesuffix('.')}]"
    yield 'fail-on = "error"  # or "warning", or "never"'
    models = _named([(_key(m.cls.lower()), m) for m in found.models[:_MOST_ENTRIES]])
    built = {name: model for name, model in models.items() if not model.needs}
    for name, model in models.items():
        yield ""
        yield from _model(f"{prefix}models.{name}", model)
    loaders = list(dict.fromkeys((_key(x.name), x) for x in found.loaders))[:_MOST_ENTRIES]
    for name, loader in _named(loaders).items():
        yield ""
        yield from _loader(f"{prefix}loaders.{name}", loader, built)
    if found.scripts:
        yield ""
        yield "# Instead of numbers: run a script through its first training step, and no further."
    for name, script in _named([(_key(Path(s).stem), s) for s in found.scripts[:_MOST_ENTRIES]]).items():
        yield f"# [{prefix}scripts.{name}]"
        yield f"# script = {_text(script)}"
        yield "# args = []"
    yield ""


def _model(header: str, model: _Model) -> Iterator[str]:
    off = "# " if model.needs else ""
    yield f"{off}[{header}]  # line {model.line}"
    yield f"{off}target = {_text(f'{model.file}:{model.cls}')}"
    if model.needs:
        yield f"# set = {{ {', '.join(f'{name} = 0' for name in model.needs)} }}  # TODO: it cannot be built without"
    yield '# input = "3,224,224"  # TODO: one sample, without the batch dimension; guessed where it is not given'


def _loader(header: str, loader: _Loader, models: dict[str, _Model]) -> Iterator[str]:
    size = loader.batch_size or _GUESSED_SIZE
    yield f"[{header}]  # {loader.file}, line {loader.line}"
    yield f"n = {size * _FULL_BATCHES + 1}  # TODO: how many samples the dataset has; until then one is left over"
    todo = "" if loader.batch_size else f"  # TODO: what is {' '.join(loader.size_source.split())}?"
    yield f"batch-size = {size}{todo}"
    if loader.drop_last:
        yield "drop-last = true"
    if len(models) > 1:
        used = [name for name, model in models.items() if model.cls in loader.mentions]
        feeds = used or list(models)
        yield f"feeds = [{', '.join(map(_text, feeds))}]  # TODO: which models it feeds"


T = TypeVar("T")


def _named(items: Sequence[tuple[str, T]]) -> dict[str, T]:
    """Return the items under their names; a name that is taken gets a number."""
    found: dict[str, T] = {}
    for name, item in items:
        free = next(n for i in range(1, len(items) + 2) if (n := name if i == 1 else f"{name}-{i}") not in found)
        found[free] = item
    return found


def _key(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "entry"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


MOST_FILES = 500
_SKIPPED = {"venv", "env", "build", "dist", "site-packages", "node_modules", "tests", "test", "docs"}
_ROOTS = {"Module", "LightningModule", "Sequential"}
_NO_MODELS = ("Loss", "Criterion", "Metric")
_TAIL = re.compile(r"(?<=\w)_?(data_?loader|loader|dl)$", re.IGNORECASE)


@dataclass(frozen=True)
class _Model:
    """A model class that is no part of another; ``needs`` are the arguments it cannot be built without."""

    file: str
    line: int
    cls: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class _Loader:
    """A call of DataLoader.

    Attributes:
        file: where.
        line: where.
        name: what it is assigned to, without ``_loader``.
        batch_size: None where the source does not tell.
        size_source: the source of the batch size.
        drop_last: whether it is a plain True.
        mentions: the names that its file uses, among them those of models.

    """

    file: str
    line: int
    name: str
    batch_size: int | None
    size_source: str
    drop_last: bool
    mentions: frozenset[str] = field(default_factory=frozenset, repr=False)


@dataclass(frozen=True)
class _Sources:
    """All that was found, in the order of files and lines."""

    models: tuple[_Model, ...]
    loaders: tuple[_Loader, ...]
    scripts: tuple[str, ...]


def look_through(folder: Path) -> _Sources:
    """Return what the Python files of a folder and those below it hold; files that are no Python are passed over."""
    trees = dict(_trees(folder))
    loaders = tuple(found for file, tree in trees.items() for found in _loaders(file, tree))
    with_loader = {x.file for x in loaders}
    scripts = tuple(file for file, tree in trees.items() if file in with_loader and _trains(tree))
    return _Sources(tuple(_models(trees)), loaders, scripts)


def _trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in list(_files(folder))[:MOST_FILES]:
        try:
            yield path.relative_to(folder).as_posix(), ast.parse(path.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
            continue


def _files(folder: Path) -> Iterator[Path]:
    try:
        inside = sorted(folder.iterdir(), key=lambda p: (p.is_dir(), p.name))
    except OSError:
        return
    for path in inside:
        if path.name.startswith((".", "test_", "conftest", "setup.")) or path.is_symlink():
            continue
        if path.suffix == ".py" and path.is_file():
            yield path
        elif path.is_dir() and path.name not in _SKIPPED and not (path / "pyvenv.cfg").exists():
            yield from _files(path)


def _models(trees: dict[str, ast.Module]) -> Iterator[_Model]:
    classes = {
        node.name: (file, node) for file, tree in trees.items() for node in tree.body if isinstance(node, ast.ClassDef)
    }
    kinds = {name for name in classes if _is_model(name, classes)}
    parts = {n for name in kinds for n in _names(classes[name][1].body) if n != name}
    for name, (file, node) in classes.items():
        lineage = list(_lineage(name, classes))
        if name in kinds - parts and not name.endswith(_NO_MODELS) and any(_method(c, "forward") for c in lineage):
            yield _Model(file, node.lineno, name, _needs(lineage))


Classes = dict[str, tuple[str, ast.ClassDef]]


def _is_model(name: str, classes: Classes) -> bool:
    return any(_last(base) in _ROOTS for node in _lineage(name, classes) for base in node.bases)


def _lineage(name: str, classes: Classes) -> Iterator[ast.ClassDef]:
    """Yield a class and those of the folder that it derives from, each once."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop(0)
        if one in classes and one not in seen:
            seen.add(one)
            yield classes[one][1]
            waiting += [_last(base) for base in classes[one][1].bases]


def _method(node: ast.ClassDef, name: str) -> ast.FunctionDef | None:
    return next((x for x in node.body if isinstance(x, ast.FunctionDef) and x.name == name), None)


def _needs(lineage: Sequence[ast.ClassDef]) -> tuple[str, ...]:
    init = next((found for node in lineage if (found := _method(node, "__init__"))), None)
    if init is None:
        return ()
    plain = [*init.args.posonlyargs, *init.args.args][1:]
    plain = plain[: max(0, len(plain) - len(init.args.defaults))]
    named = [a for a, d in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True) if d is None]
    return tuple(a.arg for a in (*plain, *named))


def _loaders(file: str, tree: ast.Module) -> Iterator[_Loader]:
    names = dict(_named_calls(tree))
    called = {"DataLoader", *_other_names(tree)}
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    mentions = frozenset(_names(tree.body) | imported)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and _last(node.func) in called):
            continue
        given = {k.arg: k.value for k in node.keywords}
        size = given.get("batch_size", node.args[1] if len(node.args) > 1 else ast.Constant(1))
        if "batch_sampler" in given or (isinstance(size, ast.Constant) and size.value is None):
            continue  # its sizes are not to be had from the source
        drop = given.get("drop_last")
        dropping = isinstance(drop, ast.Constant) and drop.value is True
        name = _TAIL.sub("", names.get(node, "")) or "loader"
        yield _Loader(file, node.lineno, name, _number(size, tree), ast.unparse(size), dropping, mentions)


def _other_names(tree: ast.Module) -> Iterator[str]:
    """Yield what ``from … import DataLoader as DL`` calls it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (a.asname for a in node.names if a.name == "DataLoader" and a.asname)


def _named_calls(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield calls with the name that they are assigned to, or stand under in a dict."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield node.value, _last(node.targets[0])
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.value, _last(node.target)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield value, key.value
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and inner.value is not None:
                    yield inner.value, re.sub(r"^(get|make|build|create)_", "", node.name)


def _number(node: ast.expr, tree: ast.Module) -> int | None:
    """Return a batch size: a number, a name that one number is assigned to, an option of argparse with a default."""
    if isinstance(node, ast.Constant):
        return node.value if type(node.value) is int and node.value > 0 else None
    name = _last(node)
    if not name:
        return None
    found = {
        value.value
        for target, value in _assigned(tree)
        if target == name and isinstance(value, ast.Constant) and type(value.value) is int and value.value > 0
    }
    return found.pop() if len(found) == 1 else None


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield _last(node.targets[0]), node.value
        elif isinstance(node, ast.Call) and _last(node.func) == "add_argument":
            default = next((k.value for k in node.keywords if k.arg == "default"), None)
            flags = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            for flag in flags if default is not None else ():
                yield flag.lstrip("-").replace("-", "_"), default  # type: ignore[misc]


def _trains(tree: ast.Module) -> bool:
    calls = {_last(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    return bool(calls & {"backward", "fit"})


def _names(body: Sequence[ast.stmt]) -> set[str]:
    return {_last(n) for statement in body for n in ast.walk(statement) if isinstance(n, (ast.Name, ast.Attribute))}


def _last(node: ast.AST) -> str:
    """Return the last part of a dotted name, or nothing for anything else."""
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
