"""``python -m stepwell``: the command line, also where its script is not on the PATH."""

import sys


def main() -> None:
    """Run the command line, or say what it needs."""
    try:
        from stepwell.cli import main as run  # noqa: PLC0415 - the `cli` extra may be missing
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        sys.exit(f"stepwell: the command line needs {missing.name}. Install it with: pip install 'stepwell[cli]'")
    run()


if __name__ == "__main__":
    main()
