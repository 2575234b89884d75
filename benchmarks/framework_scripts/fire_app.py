"""Fire: a function as a command line."""

import fire
from _task import run


def main(samples: int = 16, batch_size: int = 8) -> None:
    run(samples, batch_size)


if __name__ == "__main__":
    fire.Fire(main)
