"""``python -m bnguard._preflight``: see ``child.py``; started by ``launch.py``."""

import sys

from bnguard._preflight.child import main

if __name__ == "__main__":
    main(sys.argv[1:])
