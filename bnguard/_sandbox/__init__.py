"""A room in which a script runs for real, and from which nothing is left: what it writes is undone afterwards.

    from bnguard._sandbox.box import Sandbox

    with Sandbox(cwd, script=script) as box:
        argv, env = box.command(argv, env)
        subprocess.run(argv, env=env, cwd=cwd)
    box.left_out        # what was written and undone
    box.trouble         # what could not be put back, or was refused to the script

Two ways lead there. Where the kernel grants a mount namespace, the process has a copy-on-write view of the folders it
may write to (``overlay.py``). Elsewhere what stood there is put aside before each write (``child.py``, ``writers.py``,
``journal.py``) and put back by the starting process (``undo.py``), and a listing before and after finds what no hook
has seen (``listing.py``). Each Python that is started in here imports ``child.py``, so this file imports nothing.
"""
