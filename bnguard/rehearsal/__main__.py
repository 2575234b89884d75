"""``python -m bnguard.rehearsal``: see ``child.py``; started by ``launch.py``."""

import sys

from bnguard.rehearsal.child import main

if __name__ == "__main__":
    main(sys.argv[1:])
