"""The table, with rich where it is installed."""

from collections.abc import Sequence

from bench.harness import Figure

try:
    from rich.console import Console
    from rich.table import Table
except ImportError:
    Console = Table = None

HEADINGS = ("measurement", "value", "floor", "ratio", "bound", "", "remark")


def show(figures: Sequence[Figure]) -> None:
    """Print a line a figure."""
    lines = [_line(figure) for figure in figures]
    if Console is not None and Table is not None:
        table = Table(*HEADINGS)
        for column in table.columns[1:4]:
            column.justify = "right"
        for figure, line in zip(figures, lines, strict=True):
            table.add_row(*line, style="red" if figure.ok is False else None)
        console = Console()
        # Nothing is cut off where the width is only guessed.
        (console if console.is_terminal else Console(width=160)).print(table)
        return
    widths = [max(len(line[place]) for line in (HEADINGS, *lines)) for place in range(len(HEADINGS))]
    for line in (HEADINGS, *lines):
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def _line(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        "" if figure.floor is None else f"{_number(figure.floor)} {figure.unit}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        figure.bound,
        {True: "ok", False: "MISSED", None: ""}[figure.ok],
        figure.note,
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
