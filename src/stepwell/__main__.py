"""``python -m stepwell``, and what the script ``stepwell`` runs: the command line, or a word about what it needs."""

import sys


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    try:
        from stepwell.cli import main as run_and_exit
    except ModuleNotFoundError as missing:
        if missing.name not in {"cyclopts", "rich"}:
            raise
        sys.exit(f"stepwell: the command line needs {missing.name}, which is not there. Try: pip install 'stepwell[cli]'")
    run_and_exit()


if __name__ == "__main__":
    main()
