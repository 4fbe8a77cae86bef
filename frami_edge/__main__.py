"""``python -m frami_edge`` is the ``frami-edge`` command."""

from frami_edge.cli.main import main

if __name__ == "__main__":
    main()
