"""``python -m frami_edge.runtime MODEL``: the benchmark where only numpy and onnxruntime are installed.

The same as ``frami-edge bench``. Exit codes: 0 good, 1 parity failed, 2 usage, 3 could not run.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from frami_edge.runtime.errors import FramiError


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m frami_edge.runtime",
        description="Proves that an exported model computes what PyTorch computed, and measures it on this device.",
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL",
                        help="exported .onnx files, each with its .golden.npz beside it (default: student.onnx)")
    parser.add_argument("--threads", default="1", help="of ONNX Runtime; a list such as 1,2,4 measures each")
    parser.add_argument("--seconds", type=float, help="length of the clip (default: that of the training clips)")
    parser.add_argument("--runs", type=int, default=200, help="warm calls of each model (default: 200)")
    parser.add_argument("--warmup", type=int, default=10, help="calls before them that do not count (default: 10)")
    parser.add_argument("--limit", type=float, default=60.0, help="stop the warm calls after so many seconds")
    parser.add_argument("--no-parity", action="store_true", help="measure without golden vectors")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser.parse_args(line)


def main(line: Sequence[str] | None = None) -> int:
    given = arguments(line)
    try:
        from frami_edge.runtime import bench, report

        settings = bench.Settings(bench.thread_counts(given.threads), given.seconds, given.runs, given.warmup,
                                  given.limit, not given.no_parity)
        result = bench.run(given.models or [bench.DEFAULT_MODEL], settings, lambda text: print(text, file=sys.stderr))
    except FramiError as error:
        print(f"error: {error.problem}" + f"\n{error.hint}" * bool(error.hint), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    print(json.dumps(result, indent=2) if given.json else report.bench_text(result))
    return bench.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
