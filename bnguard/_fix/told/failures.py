"""What to do next about a failure, from the lines that its traceback went through: the files are read, not run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import libcst as cst

from bnguard._errors import FileError
from bnguard._facts.findings import SourceEdit, fix_command
from bnguard._fix.calls import LoaderCall, bindings, words
from bnguard._fix.need import need
from bnguard._fix.propose import Declared, decide, proposal_of
from bnguard._fix.reading import Reading, read
from bnguard._fix.usage import iterated, parameter_of
from bnguard._usercode import display_path, whose


class Line(NamedTuple):
    """A line of a traceback: the file, the line from 1, the function."""

    file: str
    line: int
    function: str


def next_command(lines: Sequence[Line], args: Sequence[str] = ()) -> str | None:
    """Return the command to go on with after a batch of one sample has failed; None without a script at hand.

    ``bnguard fix`` where the loader whose loop failed is known to leave one sample, and the edit is known; else
    ``bnguard preflight``, which finds that out.

    Args:
        lines: of the traceback, the outermost first.
        args: of the script's command line.

    """
    mine = [one for one in lines if one.file.endswith(".py") and whose(one.file) == "user" and Path(one.file).is_file()]
    edit = _edit(mine)
    if edit is not None:
        return fix_command([edit])
    script = next((one.file for one in mine if one.function == "<module>"), None)
    if script is None:
        return None
    more = ["--", *args] if args else []
    return shlex.join(["bnguard", "preflight", display_path(script), *more])


def _edit(lines: Sequence[Line]) -> SourceEdit | None:
    """Return the edit of the loader behind the failure, where both are known for certain."""
    try:
        found = _loader(lines)
        if found is None or not need(found[1], found[0].tree).certain:
            return None
        reading, call = found
        for word in (None, str(reading.tree.line(call.node))):
            decided = decide([reading], Declared(() if word is None else (word,)))[reading]
            if any(d.fixed and d.edit.node is call.node for d in proposal_of(reading, decided).calls):
                return SourceEdit(display_path(str(reading.source.path)), word)
    except FileError:
        pass
    return None


def _loader(lines: Sequence[Line]) -> tuple[Reading, LoaderCall] | None:
    """Return the loader that the innermost loop of the traceback goes over; through parameters to who calls."""
    followed: tuple[str, cst.FunctionDef] | None = None  # a parameter, and its function
    for one in reversed(lines):
        reading = read(one.file)
        names = list(_looped_over(reading, one.line)) if followed is None else list(_given(reading, one, *followed))
        for name in names:
            made = [c for c in reading.calls if _is_bound(c, name, reading)]
            if len(made) == 1:
                return reading, made[0]
        parameters = ((n.value, parameter_of(n, reading.tree)) for n in names if isinstance(n, cst.Name))
        followed = next(((name, function) for name, function in parameters if function is not None), None)
        if names and followed is None:
            return None
    return None


def _looped_over(reading: Reading, line: int) -> Iterator[cst.BaseExpression]:
    tree = reading.tree
    around = [loop for loop in tree.loops if line in tree.lines(loop.body)]
    for loop in sorted(around, key=tree.line, reverse=True):
        names = [x for x in iterated(loop.iter) if isinstance(x, (cst.Name, cst.Attribute))]
        if any(_is_known(name, reading) for name in names):
            yield from names
            return


def _is_known(name: cst.BaseExpression, reading: Reading) -> bool:
    is_parameter = isinstance(name, cst.Name) and parameter_of(name, reading.tree) is not None
    return is_parameter or any(_is_bound(call, name, reading) for call in reading.calls)


def _given(reading: Reading, here: Line, parameter: str, function: cst.FunctionDef) -> Iterator[cst.BaseExpression]:
    """Yield what a call on this line gives for the parameter of the function that it went into."""
    takes = [p.name.value for p in (*function.params.posonly_params, *function.params.params)]
    for call in reading.tree.calls:
        if here.line not in reading.tree.lines(call) or next(words(call.func), None) != function.name.value:
            continue
        behind_self = isinstance(call.func, cst.Attribute) and takes[:1] == ["self"]
        for argument, taken in zip_longest(call.args, takes[behind_self:][: len(call.args)]):
            name = argument.keyword.value if argument.keyword else taken
            if name == parameter:
                yield argument.value


def _is_bound(call: LoaderCall, name: cst.BaseExpression, reading: Reading) -> bool:
    """Whether a loader has got this name, and nothing else has."""
    tree = reading.tree
    if isinstance(name, cst.Name) and len(tree.assignments(name)) != 1:
        return False
    targets = (b.target for b in bindings(call.node, tree) if b.target is not None)
    return any(tree.code(t) == tree.code(name) and tree.owner(t) is tree.owner(name) for t in targets)
