"""The characters and colours of the console report, and plain characters for terminals that have no others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from bnguard._facts.findings import Severity
from bnguard._facts.loaders import TIMES, Stream
from bnguard._report.characters import acts, visible
from bnguard._report.words import holds_one

if TYPE_CHECKING:
    from bnguard._report.answers import State

SEVERITY_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}

VERDICT_STYLE = {
    "fails": "bold red",
    "single-sample": "yellow",
    "data-dependent": "magenta",
    "thin": "cyan",
    "ok": "green",
    "frozen": "blue",
    "not-reached": "dim",
    "unknown": "magenta",
}

STATE_STYLE = {"breaks": "bold red", "unknown": "magenta", "warns": "yellow", "holds": "green"}
"""Emphasis follows gravity: what breaks is the one thing in bold."""

_WIDEST = 24
"""Cells of an epoch's picture."""

_PLAIN = str.maketrans({TIMES: "x", "…": "...", "█": "#", "▁": ".", "≥": ">=", "←": "<-", "≤": "<="})


class Symbols(NamedTuple):
    """One set of characters; ``heights`` runs from the smallest batch to the largest."""

    encoding: str
    fancy: bool

    @classmethod
    def of(cls, encoding: str) -> Symbols:
        """Return the characters that text in this encoding can hold."""
        try:
            f"✗✓←≥├└▁▂▃▄▅▆▇█{TIMES}…·".encode(encoding)
        except (UnicodeEncodeError, LookupError):
            return cls(encoding, fancy=False)
        return cls(encoding, fancy=True)

    @property
    def cross(self) -> str:
        """Before an answer that something breaks."""
        return "✗" if self.fancy else "X"

    @property
    def tick(self) -> str:
        """Before an answer that nothing breaks."""
        return "✓" if self.fancy else "OK:"

    @property
    def arrow(self) -> str:
        """Before the place of the single sample."""
        return "←" if self.fancy else "<-"

    @property
    def heights(self) -> str:
        """From a batch of one to a full batch."""
        return "▁▂▃▄▅▆▇█" if self.fancy else ".:oO#"

    def mark(self, state: State) -> Text:
        """Return what stands before an answer."""
        signs = {"breaks": self.cross, "unknown": "?", "warns": "!", "holds": self.tick}
        return Text(f"{signs[state]} ", STATE_STYLE[state])

    def text(self, text: Text) -> Text:
        """Return the text as a terminal may have it.

        Control characters and their like are written out, so that a name cannot colour, move or turn around what
        stands beside it; what the encoding cannot hold is written plainly, or as a question mark.
        """
        if self.fancy and not acts(text.plain):
            return text
        plain = Text(style=text.style, end=text.end)
        for piece in text.divide([]) if not text.spans else _pieces(text):
            plain_text = visible(piece.plain)
            if not self.fancy:
                plain_text = plain_text.translate(_PLAIN).encode(self.encoding, "replace").decode(self.encoding)
            plain.append(plain_text, style=piece.spans[0].style if piece.spans else "")
        return plain

    def epoch(self, stream: Stream, single_style: str) -> Text:
        """Return a picture of the epoch: one block a batch, its height its size, single samples in colour."""
        largest = max((size for size, _ in stream.batches), default=1)
        picture = Text()
        for i, (size, count) in enumerate(stream.batches):
            single = size == 1 or holds_one(stream, i)
            level = len(self.heights) - 1 if size == largest > 1 else 0
            if 1 < size < largest:
                level = max(1, round((len(self.heights) - 1) * size / largest) - 1)
            style = single_style if single else "green" if size == largest else "cyan"
            picture.append(_abridged(self.heights[level], count, self.fancy), style=style)
        if picture.cell_len > _WIDEST:
            dots = Text("…" if self.fancy else "..", style="dim")
            picture = picture[: _WIDEST // 2] + dots + picture[-(_WIDEST // 2 - 2) :]
        return picture


def _abridged(block: str, count: int, fancy: bool) -> str:
    if count <= 8:
        return block * count
    return block * 4 + ("…" if fancy else "..") + block * 3


def _pieces(text: Text) -> list[Text]:
    cuts = sorted({edge for span in text.spans for edge in (span.start, span.end) if 0 < edge < len(text)})
    return list(text.divide(cuts))
