"""Reports to render, made by hand and by Hypothesis: facts alone, no torch; and readers of the formats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import strategies as st

from bnguard._facts.findings import Consequence, Finding, Problem, Report, Severity
from bnguard._facts.forecasts import ForecastFact, SizeFact
from bnguard._facts.loaders import BatchPlace, LoaderFact, Stream, Suggestion
from bnguard._facts.models import InputFact, LayerFact, ModelFact, NormCall, SourceLine, Verdict
from bnguard._remedies import Advice
from bnguard._rules import CATALOGUE

NASTY = [
    "a\nb", "a\r\nb", "::error::x", "%0A", "%250A", "[red]x[/red]", "[/]", "<script>alert(1)</script>", "]]>", "<!--",
    "\x00", "\x1b[31m", "\u202eabc", "\ud800", "\udfff", "\ufffe", "a|b", "`x`", "&amp;", "##[error]x", "{0}", "[a](1)",
    ",file=x", "a:b", "\u2028", "\x85", "é✗😀", "", " ", "..", "a" * 300, "::endgroup::", "::set-env name=x::y", "\\",
    "</testsuite>", "C:\\x.py", "/", "//", "~", "\udc80.py", "model.py:Net", '"', "'", "\t", "$(rm)", "@me", "x\x0by",
]  # fmt: skip
names = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=()), max_size=30))
lines = st.none() | st.builds(SourceLine, names, st.integers(0, 10**6))
shapes = st.lists(st.integers(0, 512), min_size=2, max_size=4).map(tuple)
codes = st.sampled_from([rule.code for rule in CATALOGUE])
modes = st.sampled_from(["train", "eval"])

calls = st.builds(
    NormCall,
    shapes,
    st.integers(1, 99),
    st.booleans(),
    raises=st.booleans(),
    backend=st.none() | names,
    error=st.none(),
)
layers = st.builds(
    LayerFact,
    name=names,
    type=names,
    kind=st.sampled_from(["batch", "group", "instance", "hand-written"]),
    num_features=st.none() | st.integers(1, 64),
    training=st.booleans(),
    affine=st.booleans(),
    track_running_stats=st.booleans(),
    momentum=st.none() | st.floats(),
    eps=st.floats(),
    verdict=st.sampled_from(get_args(Verdict)),
    aliases=st.lists(names, max_size=2).map(tuple),
    source=lines,
    calls=st.lists(calls, max_size=2).map(tuple),
    order=st.none() | st.integers(0, 9),
    reason=st.none() | names,
)
models = st.builds(
    ModelFact,
    target=names,
    cls=names,
    batch_size=st.integers(1, 8),
    mode=modes,
    inputs=st.lists(st.builds(InputFact, st.none() | names, shapes, names, names), max_size=2).map(tuple),
    method=st.sampled_from(["meta", "fake", "real", "none"]),
    layers=st.lists(layers, max_size=3).map(tuple),
    trace_error=st.none() | names,
    trace_traceback=st.none() | names,
    first_failure=st.none() | names,
    notes=st.lists(names, max_size=2).map(tuple),
)
loaders = st.builds(
    LoaderFact,
    name=names,
    mode=modes,
    samples=st.none() | st.integers(0, 99),
    batch_size=st.none() | st.integers(1, 9),
    drop_last=st.booleans(),
    streams=st.just((Stream((0, 0), ((8, 1), (1, 1))),)) | st.just(()),
    first_single=st.none() | st.just(BatchPlace(0, 2, 2)),
    unknown=st.none() | names,
    notes=st.lists(names, max_size=2).map(tuple),
    source=lines,
)
sizes = st.builds(
    SizeFact, st.integers(1, 8), st.booleans(), layer=names, layer_type=names, error=names, message=names, source=lines,
    cause=st.sampled_from(["one-value", "lost-dimension", "refused"]), failing=st.lists(names, max_size=2).map(tuple),
)  # fmt: skip


advice = st.builds(
    Advice, names, st.text(min_size=1) | st.sampled_from([x for x in NASTY if x]), call=st.none() | names
)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Return a report whose findings may speak of what is in it, and of what is not."""
    some_models, some_loaders = draw(st.lists(models, max_size=2)), draw(st.lists(loaders, max_size=2))
    owners = st.none() | st.sampled_from([m.target for m in some_models] or [None]) | names
    feeders = st.none() | st.sampled_from([x.name for x in some_loaders] or [None]) | names
    findings = draw(
        st.lists(
            st.builds(
                Finding, codes, st.sampled_from(Severity), names, subject=names,
                consequence=st.none() | st.builds(Consequence, names),
                remedies=st.lists(advice, max_size=2).map(tuple), model=owners,
                layer=st.none() | names, loader=feeders, layer_line=lines, loader_line=lines,
            ),
            max_size=25,
        )
    )  # fmt: skip
    verdicts = st.lists(st.sampled_from([True, False, None]), max_size=1)
    forecasts = [
        ForecastFact(
            m.target, x.name, "train", stops, step=1, steps=2, batch_size=1, rank=0, ranks=(0, 0),
            at=draw(sizes) if stops else None, unknown=draw(names) if stops is None else None,
        )
        for m in some_models for x in some_loaders for stops in draw(verdicts)
    ]  # fmt: skip
    return Report(
        draw(st.sampled_from(["scan", "audit-loader", "forecast", "preflight", "check"])),
        models=some_models,
        loaders=some_loaders,
        suggestions=draw(st.lists(st.builds(Suggestion, names, names, names, call=st.none() | names), max_size=2)),
        forecasts=forecasts,
        findings=findings,
        problems=draw(st.lists(st.builds(Problem, names, names, st.none() | names, st.none() | names), max_size=2)),
        torch=draw(st.none() | st.just("2.14.1")),
    )


def sample() -> Report:
    """Return a report with something of everything: two models, two loaders, a stop, a hold, a problem."""
    failing = LayerFact(
        "head.2", "BatchNorm1d", "batch", 128, True, True, True, 0.1, 1e-5, "fails", min_batch_size=2, order=1,
        source=SourceLine("src/my net.py", 23), calls=(NormCall((1, 128), 1, True, raises=True, backend="cudnn"),),
    )  # fmt: skip
    unknown = LayerFact("bn", "BatchNorm2d", "batch", 8, True, True, True, 0.1, 1e-5, "unknown", reason="not followed")
    first = ModelFact("src/my net.py:Net", "Net", 1, "train", (), "meta", (failing,), first_failure="head.2")
    second = ModelFact(
        "torchvision.models:resnet18", "ResNet", 1, "train", (), "none", (unknown,), trace_error="RuntimeError: no"
    )
    stream = Stream((0, 0), ((8, 1), (1, 1)))
    train = LoaderFact(
        "train", "train", 9, 8, False, (stream,), 1, 2, 0, BatchPlace(0, 2, 2), source=SourceLine("src/data.py", 7)
    )
    val = LoaderFact("val", "eval", None, None, False, (), unknown="it has no length")
    at = SizeFact(
        1, True, layer="head.2", layer_type="BatchNorm1d", num_features=128, source=SourceLine("src/my net.py", 23),
        error="ValueError", shape=(1, 128), cause="one-value", failing=("head.2",),
    )  # fmt: skip
    stops = ForecastFact(
        first.target, "train", "train", True, "train", step=2, steps=2, batch_size=1, rank=0, ranks=(0, 0), at=at
    )
    holds = ForecastFact(second.target, "val", "eval", None, "eval", unknown="it has no length")
    findings = (
        Finding(
            "DL101", Severity.ERROR, "step 2 of 2 holds 1 sample",
            consequence=Consequence("head.2 stops there", ", and "),
            remedies=(Advice("merge-tail", "merge it"),),
            model=first.target, layer="head.2", loader="train", layer_line=SourceLine("src/my net.py", 23),
        ),
        Finding(
            "BN201", Severity.WARNING, "has momentum 0.99", "conv.1", model=first.target, layer="conv.1",
            layer_line=SourceLine("src/my net.py", 12),
        ),
        Finding(
            "BN204", Severity.NOTE, "has a small eps", "layer4.0.bn1", model=second.target, layer="layer4.0.bn1",
            layer_line=SourceLine("/usr/lib/python3/site-packages/torchvision/models/resnet.py", 60),
        ),
        Finding("DL107", Severity.NOTE, "a small tail", loader="val"),
    )  # fmt: skip
    ways = (Suggestion("merge-tail", "merge the lone sample into the batch before it", "train"),)
    problems = (Problem("models.old", "old.py:Net has no class Net", hint="there is Old"),)
    return Report(
        "check", (first, second), (train, val), ways, (stops, holds), findings, problems=problems, torch="2.14.1"
    )


def schema_file(name: str) -> Path:
    """Return a published schema, which is not ours to copy; skip where there is none."""
    folder = Path(os.environ.get("BNGUARD_SCHEMAS") or Path(__file__).parents[3] / "shared/schemas")
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not in {folder}; BNGUARD_SCHEMAS names another folder")
    return folder / name
