"""The one error that users see, and the exit codes of every command."""

EXIT_OK = 0
EXIT_CHECK_FAILED = 1  # the command ran, and what it checked did not hold
EXIT_USAGE = 2  # the command line was wrong
EXIT_CANNOT_RUN = 3  # a file, a device or an input stopped it


class FramiError(Exception):
    """A problem that the user can mend: what is wrong, and what to do about it.

    Args:
        problem: what was found, where (file or option), and what was expected.
        hint: what to do; may be empty.
        exit_code: one of the ``EXIT_*`` constants.
    """

    def __init__(self, problem: str, hint: str = "", *, exit_code: int = EXIT_CANNOT_RUN) -> None:
        super().__init__(f"{problem}\n{hint}" if hint else problem)
        self.problem = problem
        self.hint = hint
        self.exit_code = exit_code


def nearest(word: str, choices: list[str]) -> str:
    """``"did you mean 'x'?"`` for the choice most like ``word``, or a list of them where none is near."""
    import difflib

    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.4)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(sorted(choices))}."
