"""``python -m frami_edge.runtime MODEL``: the benchmark where only numpy and onnxruntime are installed.

The same as ``frami-edge bench``. Exit codes: 0 good, 1 parity or a gate failed, 2 usage, 3 could not run.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from frami_edge.runtime.errors import EXIT_CANNOT_RUN, FramiError
from frami_edge.runtime.text import drop_output, print_anything


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m frami_edge.runtime",
        description="Proves that an exported model computes what PyTorch computed, and measures it on this device.",
    )
    parser.add_argument("models", nargs="*", type=Path, metavar="MODEL",
                        help="exported .onnx files, each with its .golden.npz beside it (default: student.onnx)")
    parser.add_argument("--threads", default="1", help="of ONNX Runtime; a list such as 1,2,4 measures each, 'sweep' "
                                                       "up to all cores")
    parser.add_argument("--seconds", type=float, help="length of the clip (default: that of the training clips)")
    parser.add_argument("--runs", type=int, help="warm calls of each model (default: 200)")
    parser.add_argument("--warmup", type=int, default=10, help="calls before them that do not count (default: 10)")
    parser.add_argument("--limit", type=float, help="stop the warm calls after so many seconds (default: 60)")
    parser.add_argument("--duration", type=float, help="instead: as many calls as fit into so many seconds")
    parser.add_argument("--no-parity", action="store_true", help="measure without golden vectors")
    parser.add_argument("--profile", action="store_true", help="what each operator takes")
    parser.add_argument("--max-p95-ms", type=float, help="gate: 95 %% of the calls must take no longer than this")
    parser.add_argument("--max-rss-mb", type=float, help="gate: largest peak memory, in 10^6 bytes")
    parser.add_argument("--baseline", type=Path, help="gate: an earlier report (--json) of the same models")
    parser.add_argument("--max-regression", help="largest slowdown of the median against the baseline (default: 10%%)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--markdown", action="store_true", help="print it as Markdown")
    return parser.parse_args(line)


def main(line: Sequence[str] | None = None) -> int:
    given = arguments(line)
    print_anything()
    try:
        from frami_edge.runtime import bench, gates, report

        settings = bench.settings_of(threads=given.threads, seconds=given.seconds, runs=given.runs, warmup=given.warmup,
                                     limit=given.limit, duration=given.duration, no_parity=given.no_parity,
                                     profile=given.profile)
        limits = gates.limits_of(given.max_p95_ms, given.max_rss_mb, given.baseline, given.max_regression)
        result = bench.run(given.models or [bench.DEFAULT_MODEL], settings, lambda text: print(text, file=sys.stderr),
                           limits)
        print(report.rendered(report.bench_sections(result), result, given.json, given.markdown), flush=True)
    except FramiError as error:
        print(f"error: {error.problem}" + f"\n{error.hint}" * bool(error.hint), file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name not in ("numpy", "onnxruntime"):
            raise
        print(f"error: The benchmark needs {error.name}, which is not installed here.\npip install {error.name}",
              file=sys.stderr)
        return EXIT_CANNOT_RUN
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # most likely the report could not be printed: a full disk, or a reader that is gone
        drop_output()
        if not isinstance(error, BrokenPipeError):  # who closes a pipe knows
            print(f"error: {error}", file=sys.stderr)
        return EXIT_CANNOT_RUN
    return bench.exit_code(result)


if __name__ == "__main__":
    sys.exit(main())
