"""Real libraries that write past Python: those that are installed."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path

import pytest

from sandbox.operations import age, tree
from sandbox.trees import run, write

WRITES = {
    "torch": """
        import torch
        torch.save({"w": torch.zeros(3)}, NAME + ".pt")
        module = torch.jit.script(torch.nn.Linear(2, 2))
        torch.jit.save(module, NAME + ".jit"); module.save(NAME + ".jit2")
        torch.jit.save(torch.jit.trace(lambda x: x + 1, torch.ones(1)), NAME + ".jit3")
        with torch.autograd.profiler.profile() as profile: torch.ones(2) + 1
        profile.export_chrome_trace(NAME + ".json")
        torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), NAME + ".pt2")

        import torchvision.io
        image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        torchvision.io.write_png(image, NAME + ".png"); torchvision.io.write_jpeg(image, NAME + ".jpg")

        import safetensors.numpy, safetensors.torch
        safetensors.torch.save_file({"w": torch.zeros(3)}, NAME + ".safetensors")
        safetensors.numpy.save_file({"w": torch.zeros(3).numpy()}, NAME + ".numpy.safetensors")
        """,
    "h5py": """
        import h5py
        with h5py.File(NAME + ".h5", "w") as file: file["x"] = [1, 2]
        """,
    "cv2": """
        import cv2, numpy
        cv2.imwrite(NAME + ".png", numpy.zeros((8, 8, 3), numpy.uint8))
        """,
    "pyarrow": """
        import pyarrow, pyarrow.csv, pyarrow.feather, pyarrow.parquet
        table = pyarrow.table({"a": [1]})
        pyarrow.parquet.write_table(table, NAME + ".parquet"); pyarrow.feather.write_feather(table, NAME + ".feather")
        pyarrow.csv.write_csv(table, NAME + ".csv")
        """,
    "polars": """
        import polars
        frame = polars.DataFrame({"a": [1]})
        frame.write_csv(NAME + ".csv"); frame.write_parquet(NAME + ".parquet"); frame.write_ipc(NAME + ".ipc")
        frame.write_ndjson(NAME + ".json")
        """,
    "lightgbm": """
        import lightgbm, numpy
        x, y = numpy.random.rand(50, 3), numpy.random.rand(50)
        lightgbm.train({"verbose": -1}, lightgbm.Dataset(x, y), 2).save_model(NAME + ".txt")
        """,
    "xgboost": """
        import numpy, xgboost
        x, y = numpy.random.rand(50, 3), numpy.random.rand(50)
        xgboost.train({}, xgboost.DMatrix(x, y), 2).save_model(NAME + ".json")
        """,
    "tensorboard": """
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(NAME); writer.add_scalar("loss", 1.0, 1); writer.close()
        """,
}


@pytest.mark.parametrize("library", WRITES)
def test_a_writer_is_seen_before_it_writes(cwd: Path, library: str) -> None:
    if importlib.util.find_spec(library) is None:
        pytest.skip("not installed")
    head = "import os, sys; NAME = sys.argv[1]\n"
    script = write(cwd, head)
    script.write_text(head + textwrap.dedent(WRITES[library]))
    ran = run(script, cwd, "new", way="journal")
    assert ran.code == 0, ran.output
    written = [name for name in ran.left_out if name.startswith("new")]
    assert written
    assert [left for left in ran.box.left_out if left.reason is not None] == []
    for name in written:
        if name != "new":
            (cwd / name.replace("new", "old")).write_text("before")
    age(cwd)
    before = tree(cwd)
    ran = run(script, cwd, "old", way="journal")
    assert tree(cwd) == before
    assert ran.box.trouble == []
    if library != "tensorboard":
        assert {name: what for name, what in ran.left_out.items() if not name.startswith("..")} == {
            name.replace("new", "old"): "changed" for name in written
        }
