"""A page of the console report: lines that never run over the width, and what models and loaders show alike; a diff."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from bnguard._report import words
from bnguard._report.formats.console.symbols import SEVERITY_STYLE, STATE_STYLE, Symbols
from bnguard._report.paragraphs import by_rule, layers_text
from bnguard._report.words import named
from bnguard._rules import rule_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bnguard._facts.findings import Finding, Report
    from bnguard._report.answers import Answer
    from bnguard._report.paragraphs import Paragraph

MOST_FINDINGS = 8
"""The list stops here for each rule; JSON holds all of them."""

MOST_NOTES = 12

_NARROW = 30
"""Text with less room than this beside its lead goes below it."""


class Terminal(Console):
    """A console on stdout that leaves it to ``stdout.checked`` what a reader that has gone means for the exit code."""

    def __init__(self, width: int | None = None) -> None:
        super().__init__(highlight=False, soft_wrap=False, width=width)

    def on_broken_pipe(self) -> None:
        """Raise the error, where rich would end the process with 1."""
        raise BrokenPipeError


class Page:
    """A console, and what it can show."""

    def __init__(self, console: Console, *, several_models: bool = False) -> None:
        self.console = console
        self.symbols = Symbols.of(console.encoding)
        self.several_models = several_models
        """Whether a finding must say whose it is."""

    def line(self, text: Text, indent: int = 0, hanging: int | None = None, lead: Text | None = None) -> None:
        """Print text that never runs over the width.

        Args:
            text: what to wrap.
            indent: columns before the first line, or before the lead.
            hanging: columns before the other lines; those of the first where it is None.
            lead: stands before the first line alone, and the other lines keep clear of it.

        """
        head = Text(" " * indent) + (self.symbols.text(lead) if lead else Text())
        if lead and self.console.width - head.cell_len < _NARROW:
            self.console.print(head, soft_wrap=True)
            head = Text(" " * (indent + 4))
        left = head.cell_len if hanging is None else hanging
        plain = self.symbols.text(text)
        room = max(_NARROW - 4, self.console.width - max(left, head.cell_len))
        for i, part in enumerate(plain.wrap(self.console, room) if plain.plain else [plain]):
            part.rstrip()
            self.console.print((head if i == 0 else Text(" " * left)) + part, soft_wrap=True)

    def answer(self, answer: Answer, *, named: bool = True) -> None:
        """Print an answer: a mark, whose it is (where ``named``), and its sentence."""
        subject = f"{answer.subject}: " if named and answer.subject else ""
        grave = answer.state != "holds"
        colour = STATE_STYLE[answer.state] if grave and answer.layer is None else ""
        layer = (answer.layer or "", STATE_STYLE["breaks"])
        sentence = Text.assemble((subject, "bold" if grave else ""), (answer.before, colour), layer, answer.after)
        self.line(sentence, lead=self.symbols.mark(answer.state))

    def notes(self, notes: Iterable[tuple[str, str, str]], everyone: int, most: int = MOST_NOTES) -> int:
        """Print what else there is to know, each sentence once, and return how many sentences there are.

        Args:
            notes: of whom, what kind of sentence, the sentence.
            everyone: of how many something could be said; a sentence about all of them names nobody.
            most: sentences beyond these are counted.

        """
        owners_by_sentence: dict[tuple[str, str], dict[str, None]] = {}
        for owner, kind, sentence in notes:
            owners_by_sentence.setdefault((kind, sentence), {})[owner] = None
        for (kind, sentence), owners in list(owners_by_sentence.items())[:most]:
            names = "" if len(owners) == everyone else f"{named(list(owners))}: "
            style = "magenta" if kind == "unknown" else "dim"
            self.line(Text(f"{names}{sentence}"), indent=2, lead=Text(f"{kind:9}", style))
        if len(owners_by_sentence) > most:
            self.line(Text(f"and {len(owners_by_sentence) - most} more notes in --format json", style="dim"), indent=11)
        return len(owners_by_sentence)

    def stand_ins(self, report: Report) -> int:
        """Print what the user's code asked for and this machine lacks, a line each; return how many there are."""
        entries = report.extra.get("stood_in", ())
        for entry in entries:
            said = f"{entry['what']}: {entry['instead']}"
            self.line(Text(said), indent=2, lead=Text(f"{'stand-in':9}", "dim"))
        return len(entries)

    def findings(self, findings: Iterable[Finding], most: int = MOST_FINDINGS) -> None:
        """Print the findings, those of one rule together and each remedy once; beyond ``most`` they are counted."""
        remedy = None
        for same in by_rule(findings):
            for paragraph in same[:most]:
                self._paragraph(paragraph, remedy, most)
                remedy = paragraph.first.fix
            left = sum(paragraph.count for paragraph in same[most:])
            if left:
                first = same[0].first
                more = f"and {left} more {first.code} in --format json"
                self.line(Text(more, style="dim"), indent=2 + _lead(first).cell_len)

    def total(self, report: Report) -> None:
        """Print how many findings there are, and the command that carries them out in the source, in one piece."""
        found, command = words.found(report), report.fix_command
        if found is None:
            return
        self.line(Text())
        if command is None:
            self.line(Text(found))
            return
        fits = len(f"{found}: {command}") <= self.console.width
        self.line(Text.assemble(f"{found}:", " " if fits else "", (command if fits else "", "bold cyan")))
        if not fits:
            self.console.print(Text(f"  {command}", "bold cyan"), soft_wrap=True)

    def findings_in_brief(self, findings: Iterable[Finding], most: int = MOST_FINDINGS) -> None:
        """Print what each rule finds in general, and of which layers it says so."""
        for same in by_rule(findings):
            first, rule = same[0].first, rule_of(same[0].first.code)
            layers = layers_text([f for p in same for f in (p.first, *p.others)], most, with_models=self.several_models)
            self.line(Text(f"{rule.summary if rule else first.message}: {layers}"), indent=2, lead=_lead(first))

    def _paragraph(self, paragraph: Paragraph, remedy: str | None, most: int) -> None:
        finding = paragraph.first
        lead = _lead(finding)
        self.line(Text(finding.message), indent=2, lead=lead)
        place = ", ".join(self._place(finding))
        if place:
            self.line(Text(place, style="dim"), indent=2 + lead.cell_len)
        if paragraph.others:
            others = layers_text(paragraph.others, most, with_models=self.several_models)
            self.line(Text(others), indent=2 + lead.cell_len, lead=Text("as well: ", "bold"))
        if finding.fix and finding.fix != remedy:
            self.line(Text(finding.fix), indent=2 + lead.cell_len, lead=Text("fix: ", "bold"))

    def _place(self, finding: Finding) -> Iterator[str]:
        if self.several_models and finding.model and finding.layer is not None:
            yield f"in {finding.model}"
        yield from map(str, finding.places)


def _lead(finding: Finding) -> Text:
    return Text(f"{finding.severity.label} {finding.code}  ", SEVERITY_STYLE[finding.severity])


_DIFF_STYLE = {"---": "bold", "+++": "bold", "@@": "cyan", "+": "green", "-": "red"}
"""By how a line begins, the longer beginnings first."""


def show_diff(diff: str) -> None:
    """Print a unified diff, a line as a line however long it is; NO_COLOR switches colour off."""
    console = Console(highlight=False, soft_wrap=True)
    for line in diff.split("\n")[:-1]:
        style = next((style for start, style in _DIFF_STYLE.items() if line.startswith(start)), "")
        console.print(Text(line, style))
