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
from bnguard._check.init_models import FoundModel, find_models, last_name, names_in
from bnguard._errors import ConfigError
from bnguard._whole_file import write_whole

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
    unread = f" ({found.unread:,} more Python files were not read)" if found.unread else ""
    return f"{file.name}: written from {what}{unread}; look at each TODO, then run `bnguard check`"


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
    for name, script in _named([(_key(Path(s).stem), s) for s in found.scripts]).items():
        yield ""
        yield f"[{prefix}scripts.{name}]  # one batch of every kind that its loaders give: no number is needed"
        yield f"script = {_text(script)}"
        yield "args = []"
    models = _named([(_key(m.name.lower()), m) for m in found.models])
    built = {name: model for name, model in models.items() if not model.needs}
    for name, model in models.items():
        yield ""
        yield from _model(f"{prefix}models.{name}", model)
    if found.loaders:
        yield ""
        yield "# Loaders by numbers, which are made up as yet: take -TODO out of a name when its numbers are true."
    for name, loader in _named([(f"{_key(x.name)}-TODO", x) for x in found.loaders]).items():
        yield ""
        yield from _loader(f"{prefix}loaders.{name}", loader, built)
    yield ""


def _model(header: str, model: FoundModel) -> Iterator[str]:
    off = "# " if model.needs else ""
    yield f"{off}[{header}]  # line {model.line}"
    yield f"{off}target = {_text(f'{model.file}:{model.name}')}"
    if model.needs:
        yield f"# set = {{ {', '.join(f'{name} = 0' for name in model.needs)} }}  # TODO: it cannot be built without"
    yield '# input = "3,224,224"  # TODO: one sample, without the batch dimension; guessed where it is not given'


def _loader(header: str, loader: _Loader, models: dict[str, FoundModel]) -> Iterator[str]:
    place = f"{loader.file}, line {loader.line}"
    if loader.elsewhere:
        yield f"# [{header}]  # {place}"
        todo = f"TODO: {loader.elsewhere}, so no number tells its sizes"
        yield f"# target = {_text(f'{loader.file}:{loader.variable}')}  # {todo}"
        yield "# feeds = []"
        return
    size = loader.batch_size or _GUESSED_SIZE
    yield f"[{header}]  # {place}"
    yield f"n = {size * _FULL_BATCHES + 1}  # TODO: how many samples the dataset has; until then one is left over"
    todo = "" if loader.batch_size else f"  # TODO: what is {' '.join(loader.size_source.split())}?"
    yield f"batch-size = {size}{todo}"
    if loader.drop_last:
        yield "drop-last = true"
    if models:
        feeds = [name for name, model in models.items() if model.file == loader.file or _names_it(loader, model)]
        yield f"feeds = [{', '.join(map(_text, feeds))}]{'' if feeds else '  # TODO: which models it feeds'}"


def _names_it(loader: _Loader, model: FoundModel) -> bool:
    return bool(loader.mentions & (model.classes | {model.name}))


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
_TAIL = re.compile(r"(?<=\w)_?(data_?loader|loader|dl)$", re.IGNORECASE)


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
        variable: that name as it is.
        elsewhere: what makes its batches, where that is not the loader itself; '' where it is.

    """

    file: str
    line: int
    name: str
    batch_size: int | None
    size_source: str
    drop_last: bool
    mentions: frozenset[str] = field(default_factory=frozenset, repr=False)
    variable: str = ""
    elsewhere: str = ""


@dataclass(frozen=True)
class _Sources:
    """All that was found, in the order of files and lines; ``unread`` files were too many."""

    models: tuple[FoundModel, ...]
    loaders: tuple[_Loader, ...]
    scripts: tuple[str, ...]
    unread: int = 0


def look_through(folder: Path) -> _Sources:
    """Return what the Python files of a folder and those below it hold; files that are no Python are passed over."""
    files = list(_files(folder))
    trees = dict(_trees(folder, files[:MOST_FILES]))
    loaders = tuple(found for file, tree in trees.items() for found in _loaders(file, tree))
    with_loader = {x.file for x in loaders}
    scripts = tuple(file for file, tree in trees.items() if file in with_loader and _trains(tree))
    return _Sources(tuple(find_models(trees)), loaders, scripts, len(files[MOST_FILES:]))


def _trees(folder: Path, files: Sequence[Path]) -> Iterator[tuple[str, ast.Module]]:
    for path in files:
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


def _loaders(file: str, tree: ast.Module) -> Iterator[_Loader]:
    names = dict(_named_calls(tree))
    called = {"DataLoader", *_other_names(tree)}
    imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    mentions = frozenset(names_in(tree.body) | imported)
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and last_name(node.func) in called):
            continue
        given = {k.arg: k.value for k in node.keywords}
        size = given.get("batch_size", node.args[1] if len(node.args) > 1 else ast.Constant(1))
        elsewhere = "its batches come from a batch_sampler" if "batch_sampler" in given else ""
        if isinstance(size, ast.Constant) and size.value is None:
            elsewhere = "its dataset makes the batches"
        drop = given.get("drop_last")
        dropping = isinstance(drop, ast.Constant) and drop.value is True
        variable = names.get(node, "") or "loader"
        name, told = _TAIL.sub("", variable) or "loader", (_number(size, tree), ast.unparse(size), dropping)
        yield _Loader(file, node.lineno, name, *told, mentions, variable, elsewhere)


def _other_names(tree: ast.Module) -> Iterator[str]:
    """Yield what ``from … import DataLoader as DL`` calls it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (a.asname for a in node.names if a.name == "DataLoader" and a.asname)


def _named_calls(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Yield calls with the name that they are assigned to, or stand under in a dict."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield node.value, last_name(node.targets[0])
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.value, last_name(node.target)
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
    name = last_name(node)
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
            yield last_name(node.targets[0]), node.value
        elif isinstance(node, ast.Call) and last_name(node.func) == "add_argument":
            default = next((k.value for k in node.keywords if k.arg == "default"), None)
            flags = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            for flag in flags if default is not None else ():
                yield flag.lstrip("-").replace("-", "_"), default  # type: ignore[misc]


def _trains(tree: ast.Module) -> bool:
    calls = {last_name(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    return bool(calls & {"backward", "fit"})
