"""A training that writes in every way that trainings do leaves its folder byte for byte as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnguard._sandbox.box import Sandbox
from sandbox.operations import age, tree
from sandbox.trees import run, write

SCRIPT = """
    import csv, logging, logging.handlers, os, shutil, sqlite3, sys, time
    from pathlib import Path
    import safetensors.torch, torch, yaml

    def events(folder):
        try:
            from torch.utils.tensorboard import SummaryWriter
            writer = SummaryWriter(folder); writer.add_scalar("loss", 1.0, 1); writer.close()
        except ImportError:  # the same calls that its writer makes
            Path(folder).mkdir(parents=True, exist_ok=True)
            with open(f"{folder}/events.out.tfevents.1.host", "wb") as file:
                file.write(b"header"); file.flush()
                file.write(b"loss"); file.flush()

    # checkpoints: the last two are kept, the best is a link, one is written over, one atomically
    for epoch in range(4):
        torch.save({"w": torch.full((3, 3), epoch)}, f"checkpoints/epoch{epoch}.pt")
        stale = Path(f"checkpoints/epoch{epoch - 2}.pt")
        stale.unlink(missing_ok=True)
    torch.save(torch.zeros(5), "last.pt")
    torch.save(torch.zeros(5), "last.tmp"); os.replace("last.tmp", "best.pt")
    safetensors.torch.save_file({"w": torch.zeros(4)}, "model.safetensors")
    safetensors.torch.save_file({"w": torch.zeros(4)}, "weights/model.safetensors")
    os.unlink("newest"); os.symlink("checkpoints/epoch3.pt", "newest")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), "scripted.pt")

    with open("metrics.csv", "a", newline="") as file:
        csv.writer(file).writerow([1, 0.5])
    log = logging.getLogger("train")
    log.addHandler(logging.handlers.RotatingFileHandler("train.log", maxBytes=20, backupCount=2))
    for number in range(5):
        log.warning("a line that is long enough to rotate %d", number)
    events("runs/exp1")
    Path("config.yaml").write_text(yaml.safe_dump({"seed": 1, "model": {"width": 8}}))

    for name, mode in (("old.db", "delete"), ("wal.db", "wal"), ("new.db", "wal")):
        database = sqlite3.connect(name)
        database.execute(f"pragma journal_mode={mode}")
        database.execute("create table if not exists runs (name)")
        database.execute("insert into runs values ('me')")
        database.commit()

    os.makedirs("out/deep/er"); Path("out/deep/er/file").write_text("x"); shutil.rmtree("out/deep")
    shutil.rmtree("previous"); os.rename("data", "data.old"); os.mkdir("data"); Path("data/x").write_text("new")
    Path("data.old/x").write_text("changed in the renamed folder")
    os.rename("a.txt", "b.txt")
    os.chmod("script.sh", 0o755); os.utime("metrics.csv", (1, 1)); os.truncate("long.txt", 2)
    shutil.move("moved.txt", "weights/moved.txt"); shutil.copy2("long.txt", "copy.txt")

    if len(sys.argv) > 1:
        half = open("metrics.csv", "w"); half.write("hal"); half.flush()
        torch.save({"w": torch.zeros(1000)}, "checkpoints/epoch2.pt")
        Path(sys.argv[1]).touch()
        time.sleep(600)
    print("trained", sorted(os.listdir(".")))
"""


@pytest.fixture
def project(cwd: Path) -> Path:
    for name in ("checkpoints", "weights", "previous/deep", "data", "empty"):
        (cwd / name).mkdir(parents=True)
    texts = (
        "metrics.csv", "train.log", "train.log.1", "train.log.2", "last.pt", "best.pt", "weights/model.safetensors",
        "previous/deep/file", "data/x", "data/y", "a.txt", "b.txt", "script.sh", "long.txt", "moved.txt",
        "checkpoints/epoch0.pt", "config.yaml",
    )  # fmt: skip
    for name in texts:
        (cwd / name).write_text(f"what {name} was before\n")
    (cwd / "newest").symlink_to("checkpoints/epoch0.pt")
    import sqlite3

    for name, mode in (("old.db", "delete"), ("wal.db", "wal")):
        database = sqlite3.connect(cwd / name)
        database.execute(f"pragma journal_mode={mode}")
        database.execute("create table runs (name)")
        database.commit()
        database.close()
    write(cwd, SCRIPT)
    (cwd / "script.sh").chmod(0o640)
    age(cwd)
    return cwd


def test_nothing_is_left(project: Path, way: str) -> None:
    before = tree(project)
    ran = run(project / "train.py", project, way=way)
    assert "trained" in ran.output
    assert tree(project) == before
    assert ran.box.trouble == []
    assert ran.box.way == way
    assert ran.left_out == {
        "a.txt": "removed", "b.txt": "changed", "best.pt": "changed", "checkpoints/epoch0.pt": "removed",
        "checkpoints/epoch2.pt": "created", "checkpoints/epoch3.pt": "created", "config.yaml": "changed",
        "copy.txt": "created", "data.old": "created", "data": "changed", "last.pt": "changed",
        "long.txt": "changed", "metrics.csv": "changed", "model.safetensors": "created", "moved.txt": "removed",
        "new.db": "created", "newest": "changed", "old.db": "changed", "out": "created", "previous": "removed",
        "runs": "created", "scripted.pt": "created", "script.sh": "changed", "train.log": "changed",
        "train.log.1": "changed", "train.log.2": "changed", "wal.db": "changed",
        "weights/model.safetensors": "changed", "weights/moved.txt": "created",
    }  # fmt: skip
    assert all(left.undone for left in ran.box.left_out)


def test_nothing_is_left_by_one_that_is_killed(project: Path, shared: Path, way: str) -> None:
    before = tree(project)
    marker = shared / "now"
    ran = run(project / "train.py", project, str(marker), kill_at=marker, way=way, shared=[shared])
    assert ran.code == -9
    assert tree(project) == before
    assert ran.box.trouble == []
    assert ran.left_out["metrics.csv"] == "changed"
    assert ran.left_out["checkpoints/epoch2.pt"] == "created"


def test_the_real_training_then_runs_and_its_files_stay(project: Path) -> None:
    run(write(project, "import os; os.remove('last.pt'); os.rename('weights', 'w')", "tidy.py"), project)
    subprocess.run([sys.executable, "train.py"], cwd=project, capture_output=True, text=True, check=True)
    assert (project / "checkpoints/epoch3.pt").exists()
    assert (project / "weights/moved.txt").exists()


def test_keep_leaves_what_was_written(cwd: Path) -> None:
    script = write(cwd, "import os; open('new', 'w').write(os.environ['WANDB_MODE'])")
    ran = run(script, cwd, keep=True)
    assert ran.box.left_out == []
    assert ran.box.way is None
    assert (cwd / "new").read_text() == "disabled"


def test_a_command_needs_an_entered_sandbox(cwd: Path) -> None:
    with pytest.raises(AssertionError, match="entered"):
        Sandbox(cwd).command(["true"], {})
