"""The documentation says what is so: links lead somewhere, options exist, printed output is what is printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bnguard._report.formats import FORMATS, endings
from bnguard._report.formats.console.catalogue import as_markdown
from bnguard._rules import CATALOGUE

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_page_of_rules_is_the_catalogue() -> None:
    assert (ROOT / "docs/reference/rules.md").read_text(encoding="utf-8") == as_markdown(list(CATALOGUE))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("command", ["scan", "audit-loader", "preflight", "fix", "check"])
def test_options_in_the_documentation_exist(command: str) -> None:
    from bnguard._cli.app import application

    known = {o for p in application([]).commands[command].params for o in p.opts}
    text = "".join(p.read_text(encoding="utf-8") for p in PAGES)
    for line in re.findall(rf"bnguard {command} [^`\n]*", text):
        for option in re.findall(r"(?<!\S)--[a-z-]+", line.split(" -- ")[0]):
            assert option in known | {"--help"}, line


@pytest.mark.parametrize(
    "command",
    [
        "bnguard scan examples/resnet18_gradcam.py",
        "bnguard audit-loader --n 9 --bs 8",
        "bnguard preflight examples/training/resnet18_split.py",
    ],
)
def test_the_readme_shows_what_is_printed(command: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(f"$ {command}\n")[1].split("\n```")[0]
    result = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**__import__("os").environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert result.returncode == 1, result.stderr
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    for line in shown.splitlines():
        if line.strip() != "…":
            assert line.rstrip() in lines, line


def test_the_tutorial_is_true(tmp_path: Path) -> None:
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "train.py"
    script.write_text(code, encoding="utf-8")
    crash = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    quoted = re.search(r"`(ValueError: .*?)`", text)
    assert quoted is not None
    assert crash.stderr.strip().splitlines()[-1] == quoted[1]

    import bnguard

    small = bnguard.scan(f"{script}:build", (3, 32, 32)).models[0]
    assert (len(small.failing), small.first_failure) == (5, "layer4.0.bn1")
    assert small.failing[0].larger_input == (1, 3, 64, 64)
    large = bnguard.scan(f"{script}:build", (3, 64, 64))
    assert [f.code for f in large.findings] == ["BN102"]
    five = script.with_name("five.py")
    five.write_text(code.replace("batch_size=8", "batch_size=5"), encoding="utf-8")
    from bnguard._cli.app import run

    assert run(["audit-loader", f"{script}:loader"]) == 1
    assert run(["audit-loader", f"{five}:loader"]) == 0


def test_every_format_is_documented_with_its_endings() -> None:
    page = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \| .* \|(.*)\|$", page, re.MULTILINE)
    shown = {name: tuple(re.findall(r"`(\.\w+)`", endings)) for name, endings in rows}
    assert shown == {name: endings(name) for name in FORMATS}
    assert f"`--format {'|'.join(FORMATS)}`" in (ROOT / "docs/reference/cli.md").read_text("utf-8").replace("\\", "")


def test_calls_of_repair_in_the_documentation_exist() -> None:
    import inspect

    from bnguard import repair

    text = "".join(p.read_text(encoding="utf-8") for p in PAGES)
    calls = set(re.findall(r"bnguard\.repair\.(\w+)\(([^()]*)\)", text))
    assert {name for name, _ in calls} >= {"merge_tail", "balance", "allow_single_sample", "freeze", "to_group_norm"}
    for name, arguments in calls:
        known = inspect.signature(getattr(repair, name)).parameters
        given = [part.partition("=") for part in arguments.split(", ") if "=" in part]
        for keyword, _, value in given:
            assert keyword in known, (name, keyword)
            if value in ("None", "True", "False") or value.isdecimal():
                assert repr(known[keyword].default) == value, (name, keyword)


def test_the_json_page_shows_real_keys() -> None:
    from torch import nn

    import bnguard

    text = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    shown = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[0])
    real = bnguard.scan(nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4)), (3, 8, 8)).to_dict()
    assert set(shown) == set(real)
    assert set(shown["models"][0]) == set(real["models"][0])
    assert set(shown["models"][0]["layers"][0]) == set(real["models"][0]["layers"][0])
    assert set(shown["models"][0]["layers"][0]["calls"][0]) == set(real["models"][0]["layers"][0]["calls"][0])
    assert set(shown["findings"][0]) == set(real["findings"][0])


def test_the_json_page_shows_a_real_forecast() -> None:
    from torch import nn

    import bnguard

    text = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    (shown,) = (
        d["forecasts"] for d in map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL)) if "forecasts" in d
    )
    model = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4))
    (real,) = bnguard.forecast(model, {"n": 9, "batch_size": 8}, (3, 8, 8)).to_dict()["forecasts"]
    assert set(shown[0]) == set(real)
    assert set(shown[0]["sizes"][0]) == set(real["sizes"][0])


def test_every_key_of_the_configuration_is_documented_and_no_other() -> None:
    from bnguard._check import declarations

    text = (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8")
    _, top, models, loaders, scripts = re.split(r"^## `\[tool\.bnguard.*$", text, flags=re.MULTILINE)
    for section, known in (
        (top, declarations.TOP),
        (models, declarations.MODEL),
        (loaders, declarations.LOADER),
        (scripts, declarations.SCRIPT),
    ):
        rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
        assert {key for row in rows for key in re.findall(r"`([^`]+)`", row)} == set(known)


def test_configurations_in_the_documentation_are_accepted(tmp_path: Path) -> None:
    from bnguard._check.config import read_declarations

    found = [t for p in PAGES for t in re.findall(r"```toml\n(.*?)```", p.read_text(encoding="utf-8"), re.DOTALL)]
    assert len(found) >= 3
    for text in found:
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
        assert read_declarations(tmp_path / "pyproject.toml").models


def test_the_json_page_names_the_keys_of_a_problem() -> None:
    from bnguard._facts.findings import Problem

    text = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
    shown = re.findall(r"`(\[\{\"entry\".*?\}\])`", text, re.DOTALL)
    assert set(json.loads(shown[0])[0]) == set(Problem("models.net", "why").to_dict())


def test_the_package_speaks_of_itself_alone() -> None:
    here = "|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home()))
    pattern = re.compile(rf"issue #?\d|{here}", re.IGNORECASE)
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt") and path.is_file() and path != Path(__file__):
            assert not pattern.search(path.read_text(encoding="utf-8")), name
