"""Text in and out: byte order marks, as PowerShell and Notepad write them, and output that is narrow or gone."""

import codecs
import os
import sys

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def decoded(content: bytes) -> str:
    """A file's text: UTF-8, or what its byte order mark says.

    Raises:
        UnicodeDecodeError: it is neither.
    """
    return content.decode(next((name for mark, name in MARKS.items() if content.startswith(mark)), "utf-8"))


def print_anything() -> None:
    """Let standard output escape what its encoding lacks, where a class name would end the program otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def drop_output() -> None:
    """Drop what still waits for a standard output that fails: Python would write it at its end, and fail once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
