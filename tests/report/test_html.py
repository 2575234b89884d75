"""The page: valid, complete, self-contained, and nothing that a name says can break it."""

from __future__ import annotations

import ast
import base64
import hashlib
import itertools
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import html5lib
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from report.pages import REPORTS, large

import bnguard
from bnguard._facts.findings import Consequence, Finding, Problem, Report, Severity
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import BatchPlace, LoaderFact, Stream, Suggestion
from bnguard._facts.models import InputFact, LayerFact, ModelFact, NormCall, SourceLine
from bnguard._remedies import Advice
from bnguard._report.characters import visible
from bnguard._report.render import render_as

TEMPLATES = Path(bnguard.__file__).parent / "_report/formats/html/templates"


@cache
def report_of(case: str) -> Report:
    return REPORTS[case]()


@cache
def page_of(case: str) -> str:
    return render_as("html", report_of(case))


def tree_of(page: str):
    """Parse as a browser would, and raise where the page breaks a rule of HTML's syntax."""
    parser = html5lib.HTMLParser(tree=html5lib.getTreeBuilder("etree"), strict=True, namespaceHTMLElements=False)
    return parser.parse(page)


def words(element) -> str:
    return "".join(element.itertext())


def with_class(root, tag: str, name: str) -> list:
    return [e for e in root.iter(tag) if name in e.get("class", "").split()]


def rows_below(tree, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted names that a reader puts together from the tree, and the verdict beside each."""
    for row in tree:
        if row.get("class") == "branch":
            summary, inside = row[0]
            yield from rows_below(inside, f"{prefix}{words(summary[0])}.")
        else:
            name, (verdict, *_) = words(row[0]), with_class(row, "span", "v")
            yield prefix.removesuffix(".") if name == "(itself)" else f"{prefix}{name}", verdict.text.strip()


# ---------------------------------------------------------------------------------------- the page as HTML


@pytest.mark.parametrize("case", REPORTS)
def test_it_is_valid(case: str) -> None:
    root = tree_of(page_of(case))
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    wanted = {ref for e in root.iter() for ref in e.get("aria-labelledby", "").split()}
    wanted |= {e.get("href")[1:] for e in root.iter() if e.get("href", "").startswith("#")}
    wanted |= {v[1:] for e in root.iter() for k, v in e.attrib.items() if str(k).endswith("}href") and v[0] == "#"}
    assert wanted <= set(ids)


@pytest.mark.parametrize("case", REPORTS)
def test_its_landmarks_and_headings_are_in_order(case: str) -> None:
    root = tree_of(page_of(case))
    assert root.get("lang") == "en"
    assert [len(list(root.iter(tag))) for tag in ("main", "header", "nav", "footer", "h1")] == [1, 1, 1, 1, 1]
    assert next(root.iter("a")).get("href") == "#main"
    levels = [int(e.tag[1]) for e in root.iter() if re.fullmatch("h[1-6]", str(e.tag))]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for table in root.iter("table"):
        assert all(th.get("scope") for th in table.iter("th"))
        assert all(row.find("th") is not None or len(row.findall("td")) == 1 for row in table.iter("tr"))
    for details in root.iter("details"):
        assert details[0].tag == "summary"
    for picture in root.iter("svg"):
        assert (
            picture.get("role") == "img"
            or picture.get("aria-hidden")
            or "viewBox" in picture.attrib
            or picture.get("x")
        )


@pytest.mark.parametrize("case", REPORTS)
def test_it_asks_nobody_for_anything(case: str) -> None:
    root = tree_of(page_of(case))
    for element in root.iter():
        for key, value in element.attrib.items():
            assert not str(key).startswith("on"), (element.tag, key)
            assert key not in ("src", "srcset", "action", "style", "background"), (element.tag, key)
            if str(key).endswith("href"):
                assert value.startswith("#") or value == "data:,", value
    assert not re.search(r"url\(|@import|https?:", page_of(case))


@pytest.mark.parametrize("case", ["scan", "audit"])
def test_the_policy_allows_its_own_script_and_style_alone(case: str) -> None:
    root = tree_of(page_of(case))
    policy = next(m.get("content") for m in root.iter("meta") if m.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        (element,) = root.iter(tag)
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


# ---------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("case", REPORTS)
def test_counts_are_those_of_the_findings(case: str) -> None:
    report, root = report_of(case), tree_of(page_of(case))
    shown = {e.get("data-code"): 0 for e in with_class(root, "article", "rule")}
    for rule in with_class(root, "article", "rule"):
        shown[rule.get("data-code")] += sum(len(ul.findall("li")) for ul in with_class(rule, "ul", "findings"))
        shown[rule.get("data-code")] += sum(len(p.findall("bdi")) for p in with_class(rule, "p", "also"))
        shown[rule.get("data-code")] += sum(len(ul.findall("li")) for ul in with_class(rule, "ul", "also"))
    assert shown == dict(Counter(f.code for f in report.findings))
    (tally,) = with_class(root, "ul", "tally")
    assert [int(li.find("b").text) for li in tally] == [report.count(s) for s in sorted(Severity, reverse=True)]
    text = words(root)
    for rule in {f.code: f for f in reversed(report.findings)}.values():
        assert rule.message in text
    for advice in (advice for finding in report.findings for advice in finding.remedies):
        assert advice.clause in text
        assert advice.call is None or advice.call in text
    assert len([li for ol in with_class(root, "ol", "ways") for li in ol]) == len(report.suggestions)
    assert all(way.call in text for way in report.suggestions if way.call)


@pytest.mark.parametrize("case", REPORTS)
def test_only_code_is_to_be_copied(case: str) -> None:
    """What has a button is a line that Python reads, and no sentence about it."""
    report = report_of(case)
    calls = {a.call for f in report.findings for a in f.remedies} | {way.call for way in report.suggestions}
    for element in with_class(tree_of(page_of(case)), "bdi", "copy"):
        ast.parse(words(element))
        assert words(element) in calls


def test_it_says_of_what_when_and_with_which_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767225600")
    page = render_as("html", report_of("scan"), asked="'my net.py' --depth 3")
    (head,) = with_class(tree_of(page), "header", "top")
    said = " ".join(words(head).split())
    assert said.startswith("bnguard scan 'my net.py' --depth 3 2026-01-01 00:00 UTC, bnguard ")
    assert f"PyTorch {torch.__version__}, Python {platform.python_version()}" in said
    assert page == render_as("html", report_of("scan"), asked="'my net.py' --depth 3")
    assert "bnguard scan 'my net.py'" in next(tree_of(page).iter("title")).text
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    assert str(datetime.now(timezone.utc).year) in render_as("html", report_of("scan"))


def test_without_a_command_it_names_what_was_looked_at() -> None:
    heads = [words(next(tree_of(page_of(case)).iter("h1"))) for case in ("scan", "audit-ranks", "scan-several")]
    assert heads == ["bnguard scan Mixed", "bnguard audit-loader train, val, test", "bnguard scan Sequential, Squeezes"]


def test_layers_of_one_rule_are_one_paragraph_with_links_to_their_rows() -> None:
    root = tree_of(render_as("html", large(40)))
    (rule,) = with_class(root, "article", "rule")
    (findings,) = with_class(rule, "ul", "findings")
    assert len(findings) == 1
    links = [a.get("href")[1:] for part in ("p", "ul") for e in with_class(rule, part, "also") for a in e.iter("a")]
    rows = [li.get("id") for li in root.iter("li") if li.get("id")]
    assert (len(links), sorted([*links, "m0-0"])) == (39, sorted(rows))
    assert "29 more layers" in words(rule)


@pytest.mark.parametrize("case", [c for c in REPORTS if c.startswith(("scan", "forecast"))])
def test_every_layer_has_its_row(case: str) -> None:
    trees = with_class(tree_of(page_of(case)), "ul", "tree")
    models = [m for m in report_of(case).models if m.layers]
    for tree, model in zip(trees, models, strict=True):
        assert Counter(rows_below(tree)) == Counter((x.name, x.verdict) for x in model.layers)


def test_a_finding_leads_to_the_row_of_its_layer() -> None:
    root = tree_of(page_of("scan"))
    (rule,) = (e for e in with_class(root, "article", "rule") if e.get("data-code") == "BN101")
    finding = with_class(rule, "ul", "findings")[0][0]
    target = next(a.get("href")[1:] for a in finding.iter("a"))
    (row,) = (e for e in root.iter("li") if e.get("id") == target)
    assert re.match(r"2 fails first BatchNorm2d\(4\) 1 value 1×4×1×1 .*holds from batch size 2", words(row))


@pytest.mark.parametrize(
    ("case", "answer"),
    [
        ("scan", "Mixed: pool.2 fails first at batch size 1: BatchNorm2d gets 1×4×1×1, 1 value per channel. 6 normal"),
        ("scan-none", "Linear: batch size 1 cannot break a normalisation layer. It has none."),
        ("audit", "train: a batch of one sample comes at step 2 of 2"),
        ("audit-range", "2 of 22 sizes: a batch of one sample comes in training"),
        ("forecast", "Sequential: training on train stops at step 2 of 2 of epoch 1: 5 gets 1×4, one value per"),
        (
            "forecast-holds",
            "Sequential: training on train does not stop in epoch 1: no layer fails at the batch sizes it gives",
        ),
        ("forecast-unknown", "Reshapes: not known whether training on train stops: at batch size 1"),
    ],
)
def test_the_answer_comes_first(case: str, answer: str) -> None:
    root = tree_of(page_of(case))
    (answers,) = with_class(root, "ul", "answers")
    said = " ".join(words(answers[0].find("p")).split())
    assert said.startswith(answer)
    assert next(root.iter("title")).text.startswith(answer[:20])
    assert page_of(case).index('class="answers') < page_of(case).index("<h2") if "<h2" in page_of(case) else True


def test_the_gravest_answer_comes_first() -> None:
    (answers,) = with_class(tree_of(page_of("forecast-several")), "ul", "answers")
    states = [li.get("class") for li in answers]
    assert states == sorted(states, key=["breaks", "unknown", "warns", "holds"].index)
    assert {"breaks", "holds"} <= set(states)


@pytest.mark.parametrize("case", ["scan", "audit", "audit-range", "forecast"])
def test_a_whole_page(case: str, golden) -> None:
    page = re.sub(r"<(style|script)>.*?</\1>", r"<\1>…</\1>", page_of(case), flags=re.DOTALL)
    page = re.sub(r'(<details class="explain">).*?</details>', r"\1…</details>", page, flags=re.DOTALL)
    page = re.sub(r"'sha256-[^']+'", "'sha256-…'", page).replace(f"bnguard {bnguard.__version__}", "bnguard X")
    page = re.sub(r"<time .*</time>", "<time>Z</time>", page)
    page = re.sub(r"Python [0-9.]+", "Python P", page)
    golden(f"page-{case}.html", re.sub(r"PyTorch <bdi>[^<]+", "PyTorch <bdi>Y", page))


def test_it_needs_no_script() -> None:
    body = re.sub(r"<script>.*?</script>", "", page_of("audit"), flags=re.DOTALL)
    root = tree_of(body)
    assert not list(root.iter("button"))
    assert "loader = bnguard.repair.merge_tail(loader)" in words(root)


# ---------------------------------------------------------------------------------------- names that mean harm

HARM = [
    "<script>alert(1)</script>", "</title></style></script>", "]]>", "<!--", "-->", "&lt;", "&#0;", "&", '"', "'",
    "\" onload=\"x", "{{ 7*7 }}", "{% raw %}", "\n", "\r\n", "\t", "\x00", "\x1b[31m", "\x7f", "\x85", "\u202e",
    "\u2066", "\u200f", "\ud800", "\udcff", "\ufffe", "\U0001ffff", "\u2028", "::", "%0A", "[red]", "日本", "\u05d0",
]  # fmt: skip
CHARACTERS = st.characters(exclude_categories=())
TEXTS = (
    st.lists(st.sampled_from(HARM) | st.text(CHARACTERS, max_size=4), min_size=1, max_size=4).map("".join).filter(bool)
)


def harmful(target: str, layer: str, loader: str, other: str) -> Report:
    """Return a report in which all that comes from outside is given."""
    line = SourceLine(other, 3)
    call = NormCall((1, 4), 1, batch_statistics=True, raises=True)
    fact = LayerFact(
        layer, other, "batch", 4, True, True, True, 0.1, 1e-5, "fails",
        aliases=(other,), reason=other, source=line, calls=(call, call), order=0,
    )  # fmt: skip
    second = replace(fact, name="fixed", verdict="unknown", order=1)
    inputs = (InputFact(other, (1, 4), other, other),)
    model = ModelFact(
        target, other, 1, "train", inputs, "meta", (fact, second), device=other,
        trace_error=other, trace_traceback=other, notes=(other,),
    )  # fmt: skip
    size = SizeFact(1, True, layer, error=other, message=other, shape=(1, 4), cause="refused", failing=(layer,))
    unknown = SizeFact(2, None, unknown=other)
    place = BatchPlace(0, 2, 2)
    fed = LoaderFact(
        loader, "train", 9, 8, False, (Stream((0, 0), ((8, 1), (1, 1))),), 1, 2, first_single=place, unknown=other,
        notes=(other,), source=line,
    )  # fmt: skip
    forecast = ForecastFact(
        target, loader, "train", True, step=2, steps=2, rank=0, ranks=(0, 0), at=size, sizes=(size, unknown),
        unknown=other, notes=(other,),
    )  # fmt: skip
    finding = Finding(
        "BN101", Severity.ERROR, other, other, Consequence(other), (Advice(other, other or "x", other, other),), target,
        layer, layer_line=line,
    )  # fmt: skip
    elsewhere = Finding("XX999", Severity.NOTE, other, loader=loader)
    ways = (Suggestion("merge-tail", other, loader, call=other), Suggestion("balance", other, loader))
    return Report("forecast", (model,), (fed,), ways, (forecast,), (finding, elsewhere), torch=other)


def structure(root) -> Counter:
    return Counter((str(e.tag), *sorted(map(str, e.attrib))) for e in root.iter())


@cache
def harmless() -> Counter:
    return structure(tree_of(render_as("html", harmful("m", "l", "t", "o"))))


@given(TEXTS, TEXTS, TEXTS, TEXTS)
@settings(deadline=None, max_examples=60)
def test_no_name_breaks_the_page(target: str, layer: str, loader: str, other: str) -> None:
    layer = layer.replace(".", "_")  # a dot would be a branch of the tree, rightly
    page = render_as("html", harmful(target, layer, loader, other))
    page.encode()
    root = tree_of(page)
    assert structure(root) == harmless()
    text = words(root)
    for name in (target, layer, loader, other):
        assert visible(name) in text


@given(TEXTS)
def test_what_is_shown_may_stand_in_a_page(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]", shown)
    harmless = "".join(c for c in text if c.isprintable())
    assert visible(harmless) == harmless
    assert visible(shown) == shown


def test_a_page_of_harm_is_the_page_of_the_command_line(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(
        "from torch import nn\nmodel = nn.Sequential()\n"
        "model.add_module('<b>&\\u202e', nn.BatchNorm1d(4))\n\n"
        "def bnguard_inputs(n):\n    import torch\n    return torch.zeros(n, 4)\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "bnguard", "scan", "net.py:model", "--format", "html", "--output", "b.html"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (result.returncode, result.stdout) == (1, ""), result.stderr
    root = tree_of((tmp_path / "b.html").read_text(encoding="utf-8"))
    assert "<b>&\\u202e fails first" in words(root)
    assert not [e for e in root.iter("b") if e.text is None]


# ---------------------------------------------------------------------------------------- size, looks


def test_ten_thousand_layers_stay_usable() -> None:
    page = render_as("html", large())
    assert len(page.encode()) < 5.5e6
    assert page.count("<use ") <= 400
    assert page.count('<li id="m0-') == 10_000


def test_a_long_epoch_stays_small() -> None:
    runs = tuple((size, 1) for i in range(100_000) for size in (8, 7 + i % 2 * 2))
    fact = LoaderFact("train", "train", None, None, False, (Stream((0, 0), runs),))
    assert len(render_as("html", Report("audit-loader", loaders=(fact,)))) < 100_000


def test_deep_names_do_not_nest_without_end() -> None:
    names = [".".join(["a", *["b"] * i]) for i in range(600)]
    layers = tuple(
        LayerFact(n, "BatchNorm2d", "batch", 4, True, True, True, 0.1, 1e-5, "ok") for n in names
    )  # fmt: skip
    model = ModelFact("m", "M", 1, "train", (), "meta", layers)
    page = render_as("html", Report("scan", models=(model,)))
    assert page.count("<details") == page.count("</details>") <= 30
    (tree,) = with_class(tree_of(page), "ul", "tree")
    assert [name for name, _ in rows_below(tree)] == names


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_contrast(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (TEMPLATES / "page.css").read_text(encoding="utf-8"), re.DOTALL)
    colours = {
        name: value if len(value) == 7 else f"#{value[1] * 2}{value[2] * 2}{value[3] * 2}"
        for name, value in re.findall(r"--([a-z-]+): (#[0-9a-f]+);", blocks[scheme])
    }
    for ink in ("ink", "soft", "red", "amber", "blue", "green", "violet"):
        for ground in ("page", "card", "fill", f"{ink}-tint"):
            if ground in colours:
                light, dark = sorted((luminance(colours[ink]), luminance(colours[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


def test_what_was_not_checked_stands_below_the_answer():
    problem = Problem("models.<b>", "it raised NameError", "mend it", "Traceback:\n  File 'a.py', line 1\n    <x>\n")
    page = render_as("html", replace(report_of("scan"), command="check", problems=(problem,)))
    tree = tree_of(page)
    (rows,) = [pre for pre in tree.iter("pre") if "Traceback" in words(pre)]
    assert words(rows).splitlines() == ["Traceback:", "  File 'a.py', line 1", "    <x>"]
    assert "models.<b>: not checked, see below" in " ".join(words(tree).split())
    assert "Next mend it" in " ".join(words(tree).split())
