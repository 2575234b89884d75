"""The edit itself: what a file looks like afterwards, and that nothing else of it has changed."""

from __future__ import annotations

import ast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnguard._errors import FileError

IMPORT = "from torch.utils.data import DataLoader\n"
CALL = "DataLoader(ds, 4)"
FIXED = f"bnguard.repair.merge_tail({CALL})"

TABLE = {
    "no other import": (
        f"{IMPORT}train = {CALL}\n",
        f"import bnguard\n{IMPORT}train = {FIXED}\n",
    ),
    "sorted into the imports": (
        f"import os\n\nimport argh\nimport attr\nimport torch\n{IMPORT}\ntrain = {CALL}\n",
        f"import os\n\nimport argh\nimport attr\nimport bnguard\nimport torch\n{IMPORT}\ntrain = {FIXED}\n",
    ),
    "first of its section": (
        f"import os\n\nimport torch\n{IMPORT}\ntrain = {CALL}\n",
        f"import os\n\nimport bnguard\nimport torch\n{IMPORT}\ntrain = {FIXED}\n",
    ),
    "a comment above the section stays with its import": (
        f"import os\n\n# torch goes first\nimport torch  # really\nimport zlib\ntrain = torch.utils.data.{CALL}\n",
        ("import os\n\n# torch goes first\nimport torch  # really\nimport bnguard\nimport zlib\n"
        f"train = bnguard.repair.merge_tail(torch.utils.data.{CALL})\n"),
    ),
    "a shebang and an encoding are no such comment": (
        f"#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n{IMPORT}train = {CALL}\n",
        f"#!/usr/bin/env python\n# -*- coding: utf-8 -*-\nimport bnguard\n{IMPORT}train = {FIXED}\n",
    ),
    "a docstring and a future import": (
        f'"""Doc."""\nfrom __future__ import annotations\n{IMPORT}train = {CALL}\n',
        f'"""Doc."""\nfrom __future__ import annotations\nimport bnguard\n{IMPORT}train = {FIXED}\n',
    ),
    "only a future import at the top": (
        f"from __future__ import annotations  # yes\n\n\ndef f():\n    {IMPORT}    train = {CALL}\n",
        ("from __future__ import annotations  # yes\n\nimport bnguard\n\n\n"
        f"def f():\n    {IMPORT}    train = {FIXED}\n"),
    ),
    "only a docstring at the top": (
        f'"""Doc."""\n\n\ndef f():\n    {IMPORT}    train = {CALL}\n',
        f'"""Doc."""\n\nimport bnguard\n\n\ndef f():\n    {IMPORT}    train = {FIXED}\n',
    ),
    "a docstring with code right below": (
        f'"""Doc."""\nif __name__ == "__main__":\n    {IMPORT}    train = {CALL}\n',
        f'"""Doc."""\n\nimport bnguard\n\nif __name__ == "__main__":\n    {IMPORT}    train = {FIXED}\n',
    ),
    "nothing at the top": (
        f"# A script.\n\ndef f():\n    {IMPORT}    train = {CALL}\n",
        f"# A script.\n\nimport bnguard\n\n\ndef f():\n    {IMPORT}    train = {FIXED}\n",
    ),
    "nothing at all at the top": (
        f"if main:\n    {IMPORT}    train = {CALL}\n",
        f"import bnguard\n\nif main:\n    {IMPORT}    train = {FIXED}\n",
    ),
    "imports between code": (
        f"import os\nos.environ['A'] = '1'\nimport torch\n{IMPORT}train = {CALL}\n",
        f"import os\nos.environ['A'] = '1'\nimport bnguard\nimport torch\n{IMPORT}train = {FIXED}\n",
    ),
    "imports below the call": (
        f"import os\ntry:\n    {IMPORT}except ImportError:\n    pass\ntrain = {CALL}\nimport torch\n",
        f"import os\nimport bnguard\ntry:\n    {IMPORT}except ImportError:\n    pass\ntrain = {FIXED}\nimport torch\n",
    ),
    "two on one line": (
        f"import os; import torch\ntrain = torch.utils.data.{CALL}; x = 1\n",
        f"import bnguard\nimport os; import torch\ntrain = bnguard.repair.merge_tail(torch.utils.data.{CALL}); x = 1\n",
    ),
    "windows lines": (
        f"{IMPORT}train = {CALL}\n".replace("\n", "\r\n"),
        f"import bnguard\n{IMPORT}train = {FIXED}\n".replace("\n", "\r\n"),
    ),
    "tabs, no last newline": (
        f"{IMPORT}def f():\n\ttrain = {CALL}",
        f"import bnguard\n{IMPORT}def f():\n\ttrain = {FIXED}",
    ),
    "the imports end the file": (
        f"def f():\n    train = torch.utils.data.{CALL}\n# why\nimport torch",
        (
            "import bnguard\n\n\ndef f():\n"
            f"    train = bnguard.repair.merge_tail(torch.utils.data.{CALL})\n# why\nimport torch"
        ),
    ),
    "many lines, comments kept": (
        f"{IMPORT}train = DataLoader(  # one\n    ds,  # two\n    batch_size=4,\n    # three\n)  # four\n",
        (
            f"import bnguard\n{IMPORT}train = bnguard.repair.merge_tail(DataLoader(  # one\n    ds,  # two\n"
            "    batch_size=4,\n    # three\n))  # four\n"
        ),
    ),
    "in parentheses": (
        f"{IMPORT}train = (\n    # why\n    {CALL}\n)\n",
        f"import bnguard\n{IMPORT}train = (\n    # why\n    {FIXED}\n)\n",
    ),
    "in a loop's head": (
        f"{IMPORT}for x, y in DataLoader(train_set, 4):\n    pass\n",
        f"import bnguard\n{IMPORT}for x, y in bnguard.repair.merge_tail(DataLoader(train_set, 4)):\n    pass\n",
    ),
    "in an async function with a decorator": (
        f"{IMPORT}@cached(DataLoader)\nasync def train_loader():\n    async for x in wrap(*a, {CALL}): yield x\n",
        (f"import bnguard\n{IMPORT}@cached(DataLoader)\nasync def train_loader():\n"
        f"    async for x in wrap(*a, {FIXED}): yield x\n"),
    ),
    "beyond ASCII": (
        f"{IMPORT}été = 'naïve 🎉'\ntrain = {CALL}  # ≥ 2\n",
        f"import bnguard\n{IMPORT}été = 'naïve 🎉'\ntrain = {FIXED}  # ≥ 2\n",
    ),
    "pages": (
        f"{IMPORT}\f\n  \f\nx = 1\ntrain = {CALL}\n\f\n",
        f"import bnguard\n{IMPORT}\f\n  \f\nx = 1\ntrain = {FIXED}\n\f\n",
    ),
    "already imported": (
        f"import bnguard\n{IMPORT}train = {CALL}\n",
        f"import bnguard\n{IMPORT}train = {FIXED}\n",
    ),
    "imported under a name": (
        f"import bnguard as bg\n{IMPORT}train = {CALL}\n",
        f"import bnguard as bg\n{IMPORT}train = bg.repair.merge_tail({CALL})\n",
    ),
    "the submodule is imported": (
        f"import bnguard.repair\n{IMPORT}train = {CALL}\n",
        f"import bnguard.repair\n{IMPORT}train = {FIXED}\n",
    ),
    "from bnguard import repair": (
        f"from bnguard import repair\n{IMPORT}train = {CALL}\n",
        f"from bnguard import repair\n{IMPORT}train = repair.merge_tail({CALL})\n",
    ),
    "from bnguard.repair import merge_tail": (
        f"from bnguard.repair import balance, merge_tail as keep\n{IMPORT}train = {CALL}\n",
        f"from bnguard.repair import balance, merge_tail as keep\n{IMPORT}train = keep({CALL})\n",
    ),
    "an imported name that means something else at the call": (
        f"from bnguard import repair\n{IMPORT}def f(repair):\n    train = {CALL}\n",
        f"import bnguard\nfrom bnguard import repair\n{IMPORT}def f(repair):\n    train = {FIXED}\n",
    ),
    "imported too late": (
        f"{IMPORT}train = {CALL}\nimport bnguard\n",
        f"import bnguard\n{IMPORT}train = {FIXED}\nimport bnguard\n",
    ),
    "imported in another function": (
        f"{IMPORT}def g():\n    import bnguard\ntrain = {CALL}\n",
        f"import bnguard\n{IMPORT}def g():\n    import bnguard\ntrain = {FIXED}\n",
    ),
    "one in another": (
        f"{IMPORT}train = DataLoader(DataLoader(train_set, 2), 4)\n",
        (f"import bnguard\n{IMPORT}train = bnguard.repair.merge_tail(DataLoader(bnguard.repair.merge_tail("
        "DataLoader(train_set, 2)), 4))\n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), TABLE.values(), ids=TABLE)
def test_table(proposed, old, new):
    proposal = proposed(old)
    assert proposal.new == new
    assert proposal.blocked is None
    ast.parse(proposal.new)
    again = proposed(new)
    assert again.new == new
    assert len(again.left) == len(proposal.edits) + len(proposal.left)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{IMPORT}bnguard = 3\ntrain = {CALL}\n", 2),
        (f"{IMPORT}def bnguard(): pass\ntrain = {CALL}\n", 2),
        (f"{IMPORT}train = {CALL}\ndef f(bnguard): pass\n", 3),
        (f"{IMPORT}from guards import bnguard\ntrain = {CALL}\n", 2),
        (f"import numpy as bnguard\n{IMPORT}train = {CALL}\n", 1),
        (f"{IMPORT}def f():\n    train = {CALL}\n    import bnguard\n", 4),
        (f"{IMPORT}try:\n    import bnguard\nexcept ImportError:\n    bnguard = None\ntrain = {CALL}\n", 5),
    ],
)
def test_a_file_that_uses_the_name_is_left(proposed, text, line):
    proposal = proposed(text)
    assert proposal.new == text
    assert proposal.edits == ()
    assert f"the file binds the name bnguard in line {line}: " in proposal.left[0].reason
    assert proposal.blocked


def test_a_namesake_beside_the_file(proposed, tmp_path):
    (tmp_path / "bnguard.py").write_text("x = 1\n")
    proposal = proposed(f"{IMPORT}train = {CALL}\n")
    assert "bnguard.py beside it hides the package" in proposal.left[0].reason


@pytest.mark.parametrize(
    ("head", "comment", "encoding"),
    [("", "ü", "utf-8"), ("", "ü", "utf-8-sig"), ("# coding: latin-1\n# é\n", "ü", "latin-1"),
     ("# -*- coding: cp932 -*-\n", "日本", "cp932")],
)  # fmt: skip
def test_the_encoding_is_kept(proposed, head, comment, encoding):
    data = f"{head}{IMPORT}train = {CALL}  # {comment}\n".encode(encoding)
    proposal = proposed(data)
    assert len(proposal.edits) == 1
    assert proposal.new_data.replace(b"import bnguard\n", b"").replace(b"bnguard.repair.merge_tail(", b"") == (
        data.replace(b"4)", b"4))")
    )


def test_what_libcst_loses_is_never_guessed(proposed):
    """It gives ``\\fx`` back as ``x``: what stands below has another place than it says."""
    with pytest.raises(FileError, match=r"train\.py:3 cannot be placed exactly"):
        proposed(f"{IMPORT}\fx = 1\ntrain = {CALL}\n")
    assert proposed(f"{IMPORT}train = {CALL}\n\fx = 1\n    \n").edits


_PIECES = st.sampled_from(
    [
        "import os\n",
        "import zlib  # z\n",
        "from __future__ import annotations\n",
        "\n",
        "    \n",
        "\f\n",
        "# comment\n",
        "x = 1\n",
        "def f(a, *b):\n    '''doc'''\n    train = DataLoader(a, *b, 4)\n",
        "if x:\n\ttrain_dl = DataLoader(\n\t\tds, 8 # é\n)\n",
        "class A:\n    def train_dataloader(self):\n        return [DataLoader(s, 2) for s in self.sets]\n",
        "val = DataLoader(ds, 4)\n",
        "loader = DataLoader(ds, n)\n",
        "train = DataLoader(ds, drop_last=True, batch_size=4)\n",
        "for i, (a, b) in enumerate(DataLoader(ds, 4, shuffle=True)): pass\n",
        "train = x = (DataLoader)(ds, 3) ;y = 'ß🎉'\n",
        "train = \\\n  DataLoader(ds, 8)\n",
        "f(f'{DataLoader(train_set, 3)}')\n",
        "try:\n    import bnguard\nfinally: pass\n",
    ]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(["", "#!/bin/python\n", '"""doc"""\n', "'''a\nb'''\n\n", "# c\n\n", "\ufeff"]),
    pieces=st.lists(_PIECES, max_size=8),
    where=st.integers(0, 8),
    newline=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_every_other_character_stays(proposed, start, pieces, where, newline, last):
    future = [p for p in pieces if "__future__" in p][:1]
    others = [p for p in pieces if "__future__" not in p]
    where = min(where, len(others))
    text = "".join([start, *future, *others[:where], IMPORT, *others[where:]]).replace("\n", newline)
    text = text if last else text.rstrip()
    proposal = proposed(text)
    wraps, new = proposal.new.count("bnguard.repair.merge_tail("), proposal.new
    assert wraps == len(proposal.edits)
    ast.parse(new)
    unwrapped = _remove(new, old=proposal.old)
    assert unwrapped == proposal.old
    again = proposed(proposal.new_data)
    assert again.new == new
    assert not again.edits


def _remove(new: str, old: str) -> str:
    """Take the calls and the import out again by Python's own parser, and the blank lines that came with it."""
    lines = new.split("\n")
    tree = ast.parse(new)
    for call in sorted(
        (n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "bnguard.repair.merge_tail"),
        key=lambda n: (n.end_lineno, n.end_col_offset),
        reverse=True,
    ):
        for row, column, length in (
            (call.end_lineno - 1, call.end_col_offset - 1, 1),
            (call.lineno - 1, call.col_offset, len("bnguard.repair.merge_tail(")),
        ):
            data = lines[row].encode()
            lines[row] = (data[:column] + data[column + length :]).decode()
    text = "\n".join(lines)
    if text == old:
        return text
    newline = "\r\n" if "\r\n" in old else "\n"
    for extra in (f"import bnguard{newline}", f"import bnguard{newline * 2}", f"import bnguard{newline * 3}",
                  f"{newline}import bnguard{newline}", f"{newline}import bnguard{newline * 2}"):  # fmt: skip
        at = text.find(extra)
        while at >= 0:
            if text[:at] + text[at + len(extra) :] == old:
                return old
            at = text.find(extra, at + 1)
    return text
