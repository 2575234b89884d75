"""What a file does with a loader under the name that it has got: loops over it, gives it to functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import libcst as cst
from libcst import matchers as m

from bnguard._audit_loader.names import stated_mode
from bnguard._fix.calls import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bnguard._facts.models import Mode
    from bnguard._fix.calls import LoaderCall
    from bnguard._fix.tree import Tree

_BACKWARD = m.Call(func=m.Attribute(attr=m.Name("backward")) | m.Name("backward"))
_DEPTH = 3
"""Through so many functions a loader is followed."""


def used_for(call: LoaderCall, targets: Sequence[cst.BaseExpression], tree: Tree) -> Iterator[tuple[Mode, str]]:
    """Yield what a loader with these names is used for, training first: one that serves both can stop training."""
    found = [use for target in targets for use in _used(target, tree, _DEPTH)]
    yield from sorted(found, key=lambda use: use[0] != "train")
    if not targets and any(call.node in iterated(loop.iter) and _trains(loop.body) for loop in tree.loops):
        yield "train", "the loop over it calls backward()"


def _used(target: cst.BaseExpression, tree: Tree, depth: int) -> Iterator[tuple[Mode, str]]:
    for loop in tree.loops:
        if _names(target, loop.iter, tree) and _trains(loop.body):
            yield "train", f"the loop over it in line {tree.line(loop)} calls backward()"
    for given in tree.calls:
        for argument in given.args:
            if _is(target, argument.value, tree):
                yield from _given(given, argument, tree, depth)


def _given(call: cst.Call, argument: cst.Arg, tree: Tree, depth: int) -> Iterator[tuple[Mode, str]]:
    """Yield what follows from giving a loader to a function: by the keyword, the function's name, or what it does."""
    name = next(words(call.func), "")
    said = stated_mode(argument.keyword.value) if argument.keyword else None
    if said is None and name == "fit":  # of a trainer: model, loader; what comes third may be for validation
        said = "train" if call.args.index(argument) < 2 and not argument.keyword else None
    elif said is None:
        said = stated_mode(name)
    if said is not None:
        yield said, f"it is given to {tree.code(call.func)}() in line {tree.line(call)}"
        return
    parameter = _parameter(call, argument, tree)
    if parameter is not None and depth:
        yield from _used(parameter, tree, depth - 1)


def _parameter(call: cst.Call, argument: cst.Arg, tree: Tree) -> cst.Name | None:
    """Return the parameter of the file's own function that an argument becomes."""
    function = tree.function_of(call)
    if function is None:
        return None
    takes = [p.name for p in (*function.params.posonly_params, *function.params.params)]
    if argument.keyword:
        takes += [p.name for p in function.params.kwonly_params]
        return next((name for name in takes if name.value == argument.keyword.value), None)
    index = call.args.index(argument) + (isinstance(call.func, cst.Attribute))  # behind self
    starred = any(given.star for given in call.args[: call.args.index(argument) + 1])
    return takes[index] if not starred and index < len(takes) else None


def _trains(body: cst.BaseSuite) -> bool:
    return bool(m.findall(body, _BACKWARD))


def _is(target: cst.BaseExpression, other: cst.BaseExpression, tree: Tree) -> bool:
    """Whether two expressions are one name of one thing."""
    return (
        isinstance(other, type(target))
        and tree.code(other) == tree.code(target)
        and tree.owner(other) is tree.owner(target)
    )


def _names(target: cst.BaseExpression, expression: cst.BaseExpression, tree: Tree) -> bool:
    """Whether a loop over the expression is one over the target: itself, or through ``enumerate`` and its kind."""
    return any(_is(target, inner, tree) for inner in iterated(expression))


def iterated(expression: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    """Yield an expression that is looped over, and what is in it: ``loader`` of ``tqdm(enumerate(loader))``."""
    yield expression
    if isinstance(expression, cst.Call):
        for argument in expression.args:
            yield from iterated(argument.value)


def parameter_of(name: cst.Name, tree: Tree) -> cst.FunctionDef | None:
    """Return the function whose parameter a name is, None where it is bound otherwise."""
    bound = tree.assignments(name)
    if len(bound) != 1 or not isinstance(bound[0].node, cst.Param):
        return None
    return next((a for a in tree.ancestors(bound[0].node) if isinstance(a, cst.FunctionDef)), None)
