def print_loaders(report, console, *, quiet):
    console.print("x")
