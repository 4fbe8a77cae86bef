"""``python -m frami_edge`` is the ``frami-edge`` command; both start here, where nothing but Python need be there."""

import os
import sys

from frami_edge import interrupts
from frami_edge.errors import EXIT_CANNOT_RUN

NEEDED = {"click", "pydantic", "rich", "typer"}  # to read a command line at all


def main() -> None:
    """Entry point of the console script: the command line, or one sentence that says what it lacks."""
    if os.environ.get("WORLD_SIZE", "1") == "1":  # torchrun ends its processes itself
        interrupts.listen()
    try:
        from frami_edge.cli.main import main as start

        start()
    except KeyboardInterrupt:  # before there is a command that could say more
        print("Interrupted.", file=sys.stderr)
        sys.exit(interrupts.INTERRUPTED)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in NEEDED:
            raise
        print(f"error: frami-edge needs {name}, which is not installed here.\n"
              f"pip install {name}, or install frami-edge with all that it needs; 'python -m frami_edge.runtime', the "
              "benchmark, does without.", file=sys.stderr)
        sys.exit(EXIT_CANNOT_RUN)


if __name__ == "__main__":
    main()
