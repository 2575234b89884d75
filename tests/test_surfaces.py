"""The ways into CI, as far as they go without the services: hooks, the action's steps, the documented snippets."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from report.runner import commands

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/how-to/report-in-ci.md").read_text(encoding="utf-8")
HOOKS = {h["id"]: h for h in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the steps are for bash")


CONFIG = "[tool.bnguard.loaders.train]\nn = 9\nbatch-size = 8\n"
LOADER = "from torch.utils.data import DataLoader\ntrain_loader = DataLoader(data, batch_size=8, shuffle=True)\n"
STAND_IN = f"""#!{sys.executable}
import os, sys
from pathlib import Path
Path("called.txt").open("a").write(repr(sys.argv[1:]) + "\\n")
if sys.argv[1:3] == ["-m", "bnguard"]:
    from bnguard._cli.app import main
    main(["audit-loader", "--n", os.environ.get("SAMPLES", "9"), "--bs", "8", *sys.argv[4:]])
"""
"""In the place of ``python``: notes what it is called with, and has the reports made by a command that is there."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    for name in ("output", "summary"):
        (folder / name).touch()
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_STEP_SUMMARY": str(folder / "summary"),
        "GITHUB_ACTION_PATH": str(ROOT),
        "RUNNER_TEMP": str(folder),
        **more,
    }


def run_step(
    name: str, inputs: dict[str, str], folder: Path, outputs: dict[str, str] | None = None, **more: str
) -> Any:
    """Run one step as the runner does: expressions become variables, the script a file for bash."""
    step = next(s for s in ACTION["runs"]["steps"] if s["name"] == name)
    given = {k: str(v.get("default", "")) for k, v in ACTION["inputs"].items()} | inputs

    def value(match: re.Match[str]) -> str:
        place = match[1].strip()
        return (outputs or {})[place.rpartition(".")[2]] if place.startswith("steps.") else given[place[7:]]

    variables = {k: re.sub(r"\$\{\{(.*?)\}\}", value, v) for k, v in step["env"].items()}
    assert "${{" not in step["run"]  # an input must never be part of the script
    script = folder / "step.sh"
    script.write_text(step["run"], encoding="utf-8")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script)],
        capture_output=True, text=True, cwd=folder, env=environment(folder, **variables, **more), check=False,
    )  # fmt: skip


def outputs_of(folder: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / "output").read_text().splitlines())


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    python = tmp_path / "python"
    python.write_text(STAND_IN, encoding="utf-8")
    python.chmod(0o755)
    return python


@needs_bash
def test_the_action_installs_its_own_checkout(tmp_path: Path, stand_in: Path) -> None:
    assert run_step("Install bnguard", {"python": f"{stand_in} -X utf8"}, tmp_path).returncode == 0
    (call,) = (tmp_path / "called.txt").read_text().splitlines()
    assert call == repr(["-X", "utf8", "-m", "pip", "install", "--disable-pip-version-check", str(ROOT)])


@needs_bash
@pytest.mark.parametrize(("samples", "code"), [("9", "1"), ("8", "0"), ("nine", "2")])
def test_the_action_checks_reports_and_fails(tmp_path: Path, stand_in: Path, samples: str, code: str) -> None:
    done = run_step("Check", {"python": str(stand_in)}, tmp_path, SAMPLES=samples)
    assert done.returncode == 0, done.stderr
    outputs = outputs_of(tmp_path)
    assert outputs["exit-code"] == code
    assert [c.name for c in commands(done.stdout)].count("error") == (code == "1")
    if code == "2":
        assert "sarif" not in outputs
        assert "bnguard: " in done.stderr
    else:
        results = json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"]
        assert len(results) == int(code)
        assert (tmp_path / "summary").read_text().startswith(f"## bnguard: {code} error")
    assert run_step("Result", {}, tmp_path, outputs).returncode == int(code)


@needs_bash
def test_inputs_of_the_action_become_options_and_are_never_run(tmp_path: Path, stand_in: Path) -> None:
    inputs = {
        "python": str(stand_in),
        "config": "my config; touch owned",
        "fail-on": "warning",
        "args": "--select BN1\n--ignore $(touch${IFS}owned) `touch owned`",
    }
    run_step("Check", inputs, tmp_path)
    (call,) = (tmp_path / "called.txt").read_text().splitlines()
    sarif = str(tmp_path / "bnguard.sarif")
    options = ["--select", "BN1", "--ignore", "$(touch${IFS}owned)", "`touch", "owned`"]
    options += ["--config", "my config; touch owned", "--fail-on", "warning"]
    assert call == repr(
        ["-m", "bnguard", "check", "--format", "sarif", "--output", sarif, "--format", "github", *options]
    )
    assert not (tmp_path / "owned").exists()


@needs_bash
def test_the_action_with_the_real_check(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    done = run_step("Check", {"python": sys.executable}, tmp_path)
    outputs = outputs_of(tmp_path)
    assert (done.returncode, outputs["exit-code"]) == (0, "1"), done.stderr
    (result,) = json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert (result["ruleId"], place) == ("DL101", "pyproject.toml")


def test_the_page_names_the_inputs_of_the_action() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE.partition("## GitLab")[0], re.MULTILINE)
    assert sorted(rows) == sorted(ACTION["inputs"])


@pytest.mark.parametrize("service", ["GitHub Actions", "GitLab", "pre-commit"])
def test_the_documented_yaml_is_yaml(service: str) -> None:
    section = PAGE.partition(f"## {service}\n")[2].partition("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    document = yaml.safe_load(text)
    for repo in document.get("repos", []):
        assert {h["id"] for h in repo["hooks"]} == set(HOOKS)
    for step in document.get("steps", []):
        if step.get("uses", "").startswith("bnguard/"):
            assert set(step["with"]) <= set(ACTION["inputs"])


def test_documented_reports_are_pairs_that_exist() -> None:
    from bnguard._report.render import destinations

    lines = re.findall(r"bnguard check (--format [^`'\n]*)", PAGE)
    assert len(lines) == 3
    for line in lines:
        words = line.split()
        formats = [words[i + 1] for i, w in enumerate(words) if w == "--format"]
        made = destinations(formats, [Path(words[i + 1]) for i, w in enumerate(words) if w == "--output"])
        assert {d.output.suffix: d.format for d in made if d.output} == {".sarif": "sarif", ".xml": "junit"}


def test_the_code_quality_snippet_makes_what_gitlab_reads(tmp_path: Path) -> None:
    section = PAGE.partition("## GitLab\n")[2]
    (snippet,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "code_quality.py").write_text(snippet)
    command = [sys.executable, "-m", "bnguard", "audit-loader", "--n", "9", "--bs", "8", "--output", "b.sarif"]
    subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), check=False)
    done = subprocess.run(
        [sys.executable, "code_quality.py", "b.sarif"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    (issue,) = json.loads(done.stdout)
    assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
    assert (issue["check_name"], issue["severity"], issue["location"]["lines"]) == ("DL101", "major", {"begin": 1})


def test_the_hook_that_proposes_an_edit(tmp_path: Path) -> None:
    """As pre-commit runs it: the entry, split as a shell would, and the names of the changed files."""
    (tmp_path / "train.py").write_text(LOADER)
    hook = HOOKS["bnguard-fix"]
    program, *options = hook["entry"].split()
    assert (program, hook["language"], hook.get("pass_filenames", True)) == ("bnguard", "system", True)
    done = subprocess.run(
        [sys.executable, "-m", program, *options, "train.py"],
        capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "+train_loader = bnguard.repair.merge_tail(DataLoader(" in done.stdout
    assert (tmp_path / "train.py").read_text() == LOADER


def test_the_hook_that_checks(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(CONFIG)
    hook = HOOKS["bnguard-check"]
    assert (hook["entry"], hook["pass_filenames"]) == ("bnguard check", False)
    done = subprocess.run(
        [sys.executable, "-m", *hook["entry"].split()],
        capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path), check=False,
    )  # fmt: skip
    assert (done.returncode, "DL101" in done.stdout) == (1, True), done.stderr


def test_pre_commit_runs_the_hook_of_a_repository(tmp_path: Path) -> None:
    """The real pre-commit, on a repository that offers these hooks: offline, since they take what is installed."""
    pytest.importorskip("pre_commit")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    offers, uses = tmp_path / "offers", tmp_path / "uses"
    for folder in (offers, uses):
        folder.mkdir()
        subprocess.run([*git, "init", "-q"], cwd=folder, check=True)
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", offers)
    subprocess.run([*git, "add", "."], cwd=offers, check=True)
    subprocess.run([*git, "commit", "-qm", "hooks"], cwd=offers, check=True)
    rev = subprocess.run([*git, "rev-parse", "HEAD"], cwd=offers, check=True, capture_output=True, text=True).stdout
    (uses / "train.py").write_text(LOADER)
    (uses / ".pre-commit-config.yaml").write_text(
        f"repos:\n- repo: {offers}\n  rev: {rev.strip()}\n  hooks:\n  - id: bnguard-fix\n"
    )
    subprocess.run([*git, "add", "."], cwd=uses, check=True)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin/bnguard"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnguard "$@"\n')
    command.chmod(0o755)
    env = environment(
        tmp_path, PRE_COMMIT_HOME=str(tmp_path / "home"), PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pre_commit", "run", "--all-files"],
        capture_output=True, text=True, cwd=uses, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    assert "- hook id: bnguard-fix\n- exit code: 1\n" in done.stdout
    assert "+train_loader = bnguard.repair.merge_tail(DataLoader(" in done.stdout
