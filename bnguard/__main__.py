"""``python -m bnguard`` is the same as ``bnguard``."""

from bnguard._cli.app import main

if __name__ == "__main__":
    main()
