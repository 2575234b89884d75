"""Hydra: the task function is called by hydra.main, which prints what it raises and exits."""

import hydra
from _task import run
from omegaconf import DictConfig


@hydra.main(version_base=None, config_path=None)
def main(config: DictConfig) -> None:
    run(config.samples, 8)


if __name__ == "__main__":
    main()
