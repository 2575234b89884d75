"""Where a file makes its models, and the line below that lets them take a single sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from bnguard._fix.calls import Label, words
from bnguard._remedies import ALLOW_SINGLE_SAMPLE, FREEZE, GROUP_NORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bnguard._fix.reading import Reading
    from bnguard._fix.tree import Tree
    from bnguard._remedies import Remedy

LINES: dict[str, Remedy] = {str(r.function).rpartition(".")[2]: r for r in (ALLOW_SINGLE_SAMPLE, FREEZE)}
"""What can be inserted, by the name of the function in ``bnguard.repair``."""

_REPAIRS = frozenset(str(r.function) for r in (ALLOW_SINGLE_SAMPLE, FREEZE, GROUP_NORM))

_MODULES = frozenset(
    f"{place}.{name}"
    for place, names in {
        "torch.nn": ("Module", "Sequential"),
        "torch.nn.modules": ("Module", "Sequential"),
        "lightning": ("LightningModule",),
        "lightning.pytorch": ("LightningModule",),
        "pytorch_lightning": ("LightningModule",),
    }.items()
    for name in names
)
_MAKERS = ("torchvision.models.", "timm.create_model", "segmentation_models_pytorch.", "torch.hub.load")
"""What the names of functions and classes begin with that make models."""

_WRAPPERS = frozenset(["DataParallel", "DistributedDataParallel", "DDP", "compile"])
_DEPTH = 4


@dataclass(frozen=True, eq=False)
class MadeModel:
    """A statement that makes a model and names it.

    Attributes:
        statement: an assignment.
        target: the name, as an expression.
        label: what to call it.
        repaired: the line of a repair that it has already, None without one.
        part: whether it is part of a larger model, made in the class of that.

    """

    statement: cst.CSTNode
    target: cst.BaseExpression
    label: Label
    repaired: int | None
    part: bool


def made_models(
    reading: Reading, readings: Sequence[Reading], wanted: Callable[[Label, range], bool] | None = None
) -> list[MadeModel]:
    """Return the assignments of a file that make models, in their order; parts of models alone where nothing else.

    With ``wanted`` those that it says yes to are returned, whatever they look like.
    """
    tree = reading.tree
    found = []
    for statement, target, value in _assignments(tree):
        text = tree.code(target)
        label = Label(text, frozenset({text, *list(words(target))[:1]}))
        is_one = wanted(label, tree.lines(statement)) if wanted else _makes_model(value, reading, readings, _DEPTH)
        if is_one:
            part = _is_part(statement, reading, readings)
            found.append(MadeModel(statement, target, label, _repaired(target, tree), part))
    return [x for x in found if not x.part] or found


def _is_part(statement: cst.CSTNode, reading: Reading, readings: Sequence[Reading]) -> bool:
    classes = (a for a in reading.tree.ancestors(statement) if isinstance(a, cst.ClassDef))
    return any(_is_model_class(c, reading, readings, _DEPTH) for c in classes)


def _repaired(target: cst.BaseExpression, tree: Tree) -> int | None:
    text, place = tree.code(target), tree.owner(target)
    for call in tree.calls:
        if call.args and tree.imported_as(call.func) & _REPAIRS:
            given = call.args[0].value
            if tree.code(given) == text and tree.owner(given) is place:
                return tree.line(call)
    return None


def _assignments(tree: Tree) -> Iterator[tuple[cst.CSTNode, cst.BaseExpression, cst.BaseExpression]]:
    """Yield statement, name and value of every assignment to one name, ``G, D = Gen(), Disc()`` being two."""
    for statement in m.findall(tree.module, m.Assign() | m.AnnAssign()):
        if isinstance(statement, cst.AnnAssign) and statement.value is not None:
            yield statement, statement.target, statement.value
        elif isinstance(statement, cst.Assign):
            target, value = statement.targets[-1].target, statement.value
            if isinstance(target, (cst.Tuple, cst.List)) and isinstance(value, (cst.Tuple, cst.List)):
                if len(target.elements) == len(value.elements):
                    pairs = zip(target.elements, value.elements, strict=True)
                    yield from ((statement, one.value, made.value) for one, made in pairs)
            elif not isinstance(target, (cst.Tuple, cst.List)):
                yield statement, target, value


def _makes_model(value: cst.BaseExpression, reading: Reading, readings: Sequence[Reading], depth: int) -> bool:
    """Whether an expression makes a model: ``Net()``, ``Net().to(device)``, ``DDP(Net())``, ``make_net()``."""
    if not isinstance(value, cst.Call) or not depth:
        return False
    tree = reading.tree
    if isinstance(value.func, cst.Attribute) and isinstance(value.func.value, cst.Call):  # Net().to(device)
        return _makes_model(value.func.value, reading, readings, depth)
    names = tree.imported_as(value.func)
    if names & _MODULES or any(name.startswith(_MAKERS) for name in names):
        return True
    if value.args and next(words(value.func), "") in _WRAPPERS:
        return _makes_model(value.args[0].value, reading, readings, depth)
    defined = _definitions(value.func, reading, readings)
    return any(_gives_model(node, home, readings, depth - 1) for home, node in defined)


def _gives_model(node: cst.CSTNode, home: Reading, readings: Sequence[Reading], depth: int) -> bool:
    """Whether calling this class or function gives a model; one that a function names itself gets its line there."""
    if isinstance(node, cst.ClassDef):
        return _is_model_class(node, home, readings, depth)
    returned = [x.value for x in m.findall(node, m.Return()) if isinstance(x, cst.Return) and x.value]
    return any(_makes_model(value, home, readings, depth) for value in returned)


def _is_model_class(definition: cst.ClassDef, home: Reading, readings: Sequence[Reading], depth: int) -> bool:
    for base in definition.bases:
        if home.tree.imported_as(base.value) & _MODULES:
            return True
        for other, node in _definitions(base.value, home, readings):
            if depth and isinstance(node, cst.ClassDef) and _is_model_class(node, other, readings, depth - 1):
                return True
    return False


def _definitions(
    name: cst.BaseExpression, reading: Reading, readings: Sequence[Reading]
) -> Iterator[tuple[Reading, cst.CSTNode]]:
    """Yield the classes and functions that a name means, in this file or in others that are given."""
    if isinstance(name, cst.Name):
        for bound in reading.tree.assignments(name):
            if isinstance(bound.node, (cst.ClassDef, cst.FunctionDef)):
                yield reading, bound.node
    for imported in reading.tree.imported_as(name):
        module, _, last = imported.rpartition(".")
        for other in readings:
            if other is not reading and other.stands_for(module):
                for node in other.tree.module.body:
                    if isinstance(node, (cst.ClassDef, cst.FunctionDef)) and node.name.value == last:
                        yield other, node
