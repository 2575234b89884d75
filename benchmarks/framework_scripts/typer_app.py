"""Typer: an app with one command; it prints tracebacks in its own way unless that is switched off."""

import typer
from _task import run

app = typer.Typer()


@app.command()
def main(samples: int = 16, batch_size: int = 8) -> None:
    run(samples, batch_size)


if __name__ == "__main__":
    app()
