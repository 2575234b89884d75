"""Every BN rule: real models that it speaks about, and real models that it leaves alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bnguard
from bnguard._facts.findings import Finding, Severity
from bnguard._rules import CATALOGUE, batch_size, configuration, running_statistics

Case = tuple[Callable[[], nn.Module], dict[str, object]]


def mlp(norm: Callable[[], nn.Module] = lambda: nn.BatchNorm1d(4)) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 4), norm())


def cnn(norm: Callable[[], nn.Module] = lambda: nn.BatchNorm2d(4), kernel: int = 3) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(3, 4, kernel), norm())


def bn(**options: object) -> Callable[[], nn.Module]:
    return lambda: nn.BatchNorm2d(4, **options)


def frozen_affine() -> nn.Module:
    model = cnn()()
    model[1].requires_grad_(False)
    return model


class StaysInEval(nn.Sequential):
    def train(self, mode: bool = True):
        super().train(mode)
        self[1].eval()
        return self


def stays_in_eval(*, trains: bool) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = StaysInEval(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        model[1].requires_grad_(trains)
        return model

    return build


class Casts(nn.Module):
    """A layer converted on its own meets float32."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Squeezes(nn.Module):
    def __init__(self, *, rightly: bool = False) -> None:
        super().__init__()
        self.pool, self.bn, self.rightly = nn.AdaptiveAvgPool2d(1), nn.BatchNorm1d(3), rightly

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(x)
        return self.bn(x.flatten(1) if self.rightly else x.squeeze())


class Masked(nn.Module):
    def __init__(self, *, drops: bool = True) -> None:
        super().__init__()
        self.bn, self.drops = nn.BatchNorm1d(4), drops

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        valid = x[..., 0] > -9
        return self.bn(x[valid] if self.drops else (x * valid[..., None]).flatten(0, -2))


def allowed() -> nn.Module:
    model = Masked()
    bnguard.repair.allow_single_sample(model, inputs=(5, 4))
    return model


def holding(mean: float = 0.0, var: float = 1.0, count: int = 7, share: float = 1.0) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(3, 10, 3), nn.BatchNorm2d(10))
        with torch.no_grad():
            model[1].running_mean[: round(10 * share)] = mean
            model[1].running_var[: round(10 * share)] = var
            model[1].num_batches_tracked.fill_(count)
        return model

    return build


IMAGE = {"inputs": (3, 8, 8)}
FIRES: dict[str, list[Case]] = {
    "BN101": [(mlp(), {"inputs": (4,)}), (cnn(), {"inputs": (3, 3, 3)})],
    "BN102": [(cnn(), IMAGE), (cnn(), IMAGE | {"batch_size": 1})],
    "BN103": [(mlp(), {"inputs": (4,), "batch_size": 8}), (cnn(), {"inputs": (3, 4, 4), "batch_size": 3})],
    "BN104": [(cnn(bn(track_running_stats=False)), IMAGE | {"batch_size": 4, "mode": m})
              for m in ("train", "eval")],
    "BN105": [(Squeezes, IMAGE), (Squeezes, {"inputs": lambda n: torch.zeros(n, 3, 8, 8)})],
    "BN106": [(Masked, {"inputs": (4,), "batch_size": 8}), (Masked, {"inputs": (5, 4)})],
    "BN201": [(cnn(bn(momentum=m)), IMAGE) for m in (0.9, 0.99, 0.999)],
    "BN202": [(frozen_affine, IMAGE), (stays_in_eval(trains=True), IMAGE)],
    "BN203": [(Casts, IMAGE)],
    "BN204": [(cnn(bn(eps=0.0)), IMAGE), (cnn(bn(eps=-1e-5)), IMAGE)],
    "BN205": [
        (cnn(lambda: nn.GroupNorm(4, 4)), {"inputs": (3, 3, 3)}),
        (cnn(lambda: nn.GroupNorm(4, 4)), {"inputs": (3, 3, 3), "batch_size": 4}),
        (cnn(lambda: nn.InstanceNorm2d(4)), {"inputs": (3, 3, 3), "batch_size": 4}),
    ],
    "BN301": [(holding(mean=float("nan")), IMAGE), (holding(var=float("inf"), share=0.1), IMAGE | {"mode": "eval"})],
    "BN302": [(holding(count=0), IMAGE | {"mode": "eval"})],
    "BN303": [(holding(var=0.0, share=0.5), IMAGE), (holding(mean=2.0, var=1e-12), IMAGE | {"mode": "eval"})],
}  # fmt: skip

SILENT: dict[str, list[Case]] = {
    "BN101": [(mlp(), {"inputs": (4,), "batch_size": 2}), (mlp(), {"inputs": (4,), "mode": "eval"}), (cnn(), IMAGE)],
    "BN102": [
        (cnn(), IMAGE | {"batch_size": 2}),
        (cnn(), IMAGE | {"mode": "eval"}),
        (cnn(lambda: nn.GroupNorm(2, 4)), IMAGE),
    ],
    "BN103": [(mlp(), {"inputs": (4,), "batch_size": 16}), (cnn(), IMAGE | {"batch_size": 2})],
    "BN104": [(cnn(), IMAGE), (cnn(), IMAGE | {"mode": "eval"})],
    "BN105": [(Squeezes, IMAGE | {"batch_size": 2}), (lambda: Squeezes(rightly=True), IMAGE)],
    "BN106": [
        (lambda: Masked(drops=False), {"inputs": (5, 4)}),
        (Masked, {"inputs": (5, 4), "mode": "eval"}),
        (allowed, {"inputs": (5, 4)}),
    ],
    "BN201": [(cnn(bn(momentum=m)), IMAGE) for m in (0.1, 0.01, None, 0.5)],
    "BN202": [(cnn(), IMAGE), (stays_in_eval(trains=False), IMAGE), (frozen_affine, IMAGE | {"mode": "eval"})],
    "BN203": [(cnn(), IMAGE), (lambda: cnn()().half(), {})],
    "BN204": [(cnn(bn(eps=e)), IMAGE) for e in (1e-5, 1e-3)],
    "BN205": [(cnn(lambda: nn.GroupNorm(2, 4)), {"inputs": (3, 3, 3)}), (cnn(lambda: nn.InstanceNorm2d(4)), IMAGE)],
    "BN301": [(holding(), IMAGE), (cnn(), IMAGE)],
    "BN302": [(holding(count=7, mean=0.5), IMAGE | {"mode": "eval"}), (holding(count=0), IMAGE)],
    "BN303": [(holding(var=0.5), IMAGE), (holding(), IMAGE)],
}  # fmt: skip

OURS = [*batch_size.RULES, *configuration.RULES, *running_statistics.RULES]


def found(code: str, case: Case) -> list[Finding]:
    build, options = case
    return [f for f in bnguard.scan(build(), **options).findings if f.code == code]


def cases(table: dict[str, list[Case]]) -> list[tuple[str, Case]]:
    return [(code, case) for code, several in table.items() for case in several]


@pytest.mark.parametrize(("code", "case"), cases(FIRES))
def test_fires(code: str, case: Case) -> None:
    findings = found(code, case)
    assert findings
    for finding in findings:
        assert finding.layer is not None
        assert finding.layer in finding.message
        assert "\n" not in finding.message


@pytest.mark.parametrize(("code", "case"), cases(SILENT))
def test_stays_silent(code: str, case: Case) -> None:
    assert found(code, case) == []


def test_each_rule_has_fixtures_of_both_kinds() -> None:
    assert set(FIRES) == set(SILENT) == {r.code for r in OURS}


def test_one_finding_a_model_for_single_samples() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    assert len(found("BN102", (lambda: model, IMAGE))) == 1


def test_every_failing_layer_is_found_and_the_first_is_said_to_be() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), nn.BatchNorm1d(4))
    first, second = found("BN101", (lambda: model, {"inputs": (4,)}))
    assert (first.layer, second.layer) == ("1", "3")
    assert "training stops here first" in first.message
    assert first.fix
    assert "2 samples" in first.fix


def test_the_remedy_of_a_larger_input_is_one_that_works() -> None:
    (finding,) = found("BN101", (cnn(), {"inputs": (3, 3, 3)}))
    assert "3×6×6" in str(finding.fix)
    assert found("BN101", (cnn(), {"inputs": (3, 6, 6)})) == []
    pooled = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4))  # noqa: E731
    (finding,) = found("BN101", (pooled, IMAGE))
    assert "input" not in str(finding.fix)


def test_the_half_precision_message_is_torchs_own() -> None:
    (finding,) = found("BN203", (Casts, IMAGE))
    with pytest.raises(RuntimeError) as real:
        Casts()(torch.zeros(2, 3, 8, 8))
    assert str(real.value).splitlines()[0] in finding.message


def test_the_group_count_that_is_proposed_works() -> None:
    case: Case = (cnn(lambda: nn.GroupNorm(4, 4)), {"inputs": (3, 3, 3)})
    (finding,) = found("BN205", case)
    assert finding.severity is Severity.ERROR
    assert "At most 2 groups" in str(finding.fix)
    assert found("BN205", (cnn(lambda: nn.GroupNorm(2, 4)), {"inputs": (3, 3, 3)})) == []
    silent = found("BN205", (case[0], {"inputs": (3, 3, 3), "batch_size": 4}))
    assert [f.severity for f in silent] == [Severity.WARNING]
    output = nn.GroupNorm(4, 4)(torch.randn(4, 4, 1, 1))
    assert torch.allclose(output, torch.zeros_like(output), atol=1e-3)  # the bias, whatever the input


def test_eps_is_refused_as_torch_refuses_it() -> None:
    try:
        nn.BatchNorm2d(4, eps=0.0)(torch.zeros(2, 4, 3, 3))
    except ValueError as error:
        expected, words = Severity.ERROR, "PyTorch refuses it"
        assert "eps" in str(error)
    else:  # a release that checks nothing
        expected, words = Severity.WARNING, "newer releases"
    (finding,) = found("BN204", (cnn(bn(eps=0.0)), IMAGE))
    assert finding.severity is expected
    assert words in finding.message


def test_a_squeezed_batch_dimension_is_where_training_stops() -> None:
    fact = bnguard.scan(Squeezes(), (3, 8, 8)).models[0]
    assert (fact.first_failure, fact.layers[0].verdict, fact.layers[0].min_batch_size) == ("bn", "fails", 2)
    with pytest.raises(ValueError, match="1D input"):
        Squeezes()(torch.zeros(1, 3, 8, 8))
    Squeezes()(torch.zeros(2, 3, 8, 8))


def test_no_remedy_that_cannot_help() -> None:
    untracked = found("BN101", (mlp(lambda: nn.BatchNorm1d(4, track_running_stats=False)), {"inputs": (4,)}))
    assert "eval mode" not in str(untracked[0].fix)


def test_a_negative_variance_is_no_variance() -> None:
    assert found("BN301", (holding(var=-1.0), IMAGE))


def test_a_forward_that_chose_no_row_proves_nothing() -> None:
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm1d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(x[x.sum(1) > 1e9])

    assert [x.verdict for x in bnguard.scan(Chooses(), (4,)).models[0].layers] == ["unknown"]


def test_select_and_ignore_take_prefixes() -> None:
    report = bnguard.scan(cnn()(), (3, 3, 3))
    assert {f.code for f in report.filtered(select=["BN1"]).findings} == {"BN101"}
    assert report.filtered(ignore=["BN10"]).findings == ()
    assert not report.ok
    assert report.filtered(ignore=["BN101"]).ok


def test_the_catalogue_is_whole() -> None:
    codes = [r.code for r in CATALOGUE]
    assert codes == sorted(set(codes))
    for rule in CATALOGUE:
        assert rule.code[:2] in ("BN", "DL", "RT")
        assert rule.summary
        assert "\n" not in rule.summary
        assert len(rule.why.split()) > 20
        assert len(rule.fix.split()) > 5
        checks = [c for c in (rule.check_model, rule.check_loader) if c is not None]
        assert len(checks) == (0 if rule.code.startswith("RT") else 1)


def findings_of(model: nn.Module, **options: object) -> dict[str, Finding]:
    return {f.code: f for f in bnguard.scan(model, (3, 8, 8), **options).findings}


def test_an_evaluation_that_stops_is_not_called_training() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.batch_norm(self.conv(x), None, None, training=True)

    finding = findings_of(Net(), mode="eval")["BN101"]
    assert "evaluation stops here first" in finding.message
    assert "merge-tail" not in [advice.kind for advice in finding.remedies]


def test_without_running_statistics_one_rule_says_why_an_evaluation_stops() -> None:
    found = findings_of(nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4, track_running_stats=False)), mode="eval")
    assert set(found) == {"BN104"}
    assert [advice.kind for advice in found["BN104"].remedies] == ["track-statistics"]


def test_what_is_rejected_for_another_reason_is_no_mix_of_dtypes() -> None:
    found = findings_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=0.0, affine=False)), batch_size=4)
    assert "BN204" in found
    assert "BN203" not in found


def test_instance_norm_has_no_groups_to_choose() -> None:
    finding = findings_of(nn.Sequential(nn.Conv2d(3, 4, 8), nn.InstanceNorm2d(4)))["BN205"]
    assert [advice.kind for advice in finding.remedies] == ["larger-input"]


def test_a_functional_call_is_called_so_whatever_its_function() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.instance_norm(self.conv(x))

    assert "(functional call)" in findings_of(Net())["BN205"].message or "F.batch_norm" not in str(findings_of(Net()))
