"""Reports of which the tests of the HTML page make pages."""

from __future__ import annotations

from forecast import nets
from report.test_console_models import Mixed
from torch import nn

import bnguard
from bnguard._facts.findings import Finding, Report, Severity
from bnguard._facts.models import InputFact, LayerFact, ModelFact, NormCall, SourceLine

IMAGE = (3, 8, 8)


class Unreachable(nn.Module):
    """Its forward cannot be followed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x):
        raise RuntimeError("a < b && </script>")


REPORTS = {
    "scan": lambda: bnguard.scan(Mixed(), (3, 32, 32)),
    "scan-none": lambda: bnguard.scan(nn.Linear(4, 4), (4,)),
    "scan-unknown": lambda: bnguard.scan(Unreachable(), (4,)),
    "scan-several": lambda: bnguard.scan([nets.cnn(), nets.Squeezes()], IMAGE),
    "audit": lambda: bnguard.audit_loader(n=9, batch_size=8),
    "audit-ranks": lambda: bnguard.audit_loader(n=1001, batch_size=8, split="8:1:1", world_size=3),
    "audit-workers": lambda: bnguard.audit_loader(n=35, batch_size=4, iterable=True, workers=4, shard="ceil"),
    "audit-pieces": lambda: bnguard.audit_loader(n=33, batch_size=8, micro_batches=4, replicas=2),
    "audit-nothing": lambda: bnguard.audit_loader(n=5, batch_size=8, drop_last=True),
    "audit-many": lambda: bnguard.audit_loader(n=10**15 + 1, batch_size=8, world_size=4096),
    "audit-range": lambda: bnguard.audit_loader(n="9..30", batch_size=8, split="8:2"),
    "forecast": lambda: bnguard.forecast(nets.cnn(), {"n": 9, "batch_size": 8}, IMAGE),
    "forecast-holds": lambda: bnguard.forecast(nets.spatial(), {"n": 9, "batch_size": 8}, IMAGE),
    "forecast-unknown": lambda: bnguard.forecast(nets.Reshapes(), {"n": 9, "batch_size": 8}, IMAGE),
    "forecast-refuses": lambda: bnguard.forecast(nets.WrongWidth(), {"n": 9, "batch_size": 8}, IMAGE),
    "forecast-several": lambda: bnguard.forecast(
        [nets.Squeezes(), nets.Frozen()], {"n": 18, "batch_size": 4, "split": "5:3:2"}, IMAGE
    ),
}
"""From real models and numbers, what the library really says of them."""


def large(layers: int = 10_000) -> Report:
    """Return a report in which every layer of a large model fails."""
    facts, findings = [], []
    for i in range(layers):
        name, line = f"stage{i // 1000}.block{i // 20 % 50}.layers.{i % 20}.bn", SourceLine("models/network.py", 31)
        call = NormCall((1, 512, 1, 1), 1, batch_statistics=True, raises=True)
        facts.append(
            LayerFact(
                name, "BatchNorm2d", "batch", 512, True, True, True, 0.1, 1e-5, "fails",
                min_batch_size=2, source=line, calls=(call,), order=i,
            )
        )  # fmt: skip
        message = f"{name} (BatchNorm2d(512)) gets 1\u00d7512\u00d71\u00d71 at batch size 1: one value per channel"
        findings.append(
            Finding("BN101", Severity.ERROR, message, model="m.py:Net", layer=name, layer_line=line)
        )  # fmt: skip
    inputs = (InputFact(None, (1, 3, 32, 32), "float32", "given"),)
    model = ModelFact("m.py:Net", "Net", 1, "train", inputs, "meta", tuple(facts), first_failure=facts[0].name)
    return Report("scan", models=(model,), findings=tuple(findings), torch="2.5.0")
