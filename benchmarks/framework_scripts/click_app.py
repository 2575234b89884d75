"""Click: a command with options."""

import click
from _task import run


@click.command()
@click.option("--samples", default=16)
@click.option("--batch-size", default=8)
def main(samples: int, batch_size: int) -> None:
    run(samples, batch_size)


if __name__ == "__main__":
    main()
