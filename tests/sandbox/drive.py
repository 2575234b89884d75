"""``python drive.py CWD SCRIPT WAY``: run a script in a sandbox as whoever runs this, and say what it came to."""

import json
import os
import subprocess
import sys

from bnguard._sandbox.box import Sandbox

cwd, script, way = sys.argv[1:]
with Sandbox(cwd, script=script, way=None if way == "any" else way) as box:
    state = box._state
    argv, env = box.command([sys.executable, script], os.environ)
    result = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
print(
    json.dumps(
        {
            "code": result.returncode,
            "output": result.stdout + result.stderr,
            "way": box.way,
            "notes": box.notes,
            "trouble": box.trouble,
            "left_out": {os.path.relpath(left.path, cwd): left.what for left in box.left_out},
            "state": state.exists(),
        }
    )
)
