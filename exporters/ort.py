"""ORT format: what a minimal build of ONNX Runtime reads, and the list of operators that such a build needs.

https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
from onnxruntime.tools.ort_format_model import create_config_from_models

from frami_edge.errors import EXIT_CHECK_FAILED, FramiError
from frami_edge.files import refuse_overwrite, write_atomically
from frami_edge.runtime import golden
from frami_edge.runtime.session import open_session, read_bytes, read_metadata, session_options

CONFIG_SUFFIX = ".required_operators.config"
TOLERANCE = 1e-4  # of the logits against those of the .onnx, times the largest logit where that is above 1


class OrtFiles(NamedTuple):
    model: Path
    operators: Path
    max_error: float  # of the logits against those of the .onnx file, over the golden vectors


def paths_beside(exported: Path) -> tuple[Path, Path]:
    """The model in ORT format and its list of operators, beside ``NAME.onnx``."""
    return exported.with_suffix(".ort"), exported.with_suffix(CONFIG_SUFFIX)


def export_ort(exported: Path, force: bool = False) -> OrtFiles:
    """Write ``NAME.ort`` and ``NAME.required_operators.config`` beside an exported ``NAME.onnx``.

    Optimised to the level that does not depend on this machine's CPU. Labels, sample rate and so on go with it.

    Raises:
        FramiError: the files exist; with exit code 1 where the logits differ, and nothing is written.
    """
    model, operators = paths_beside(exported)
    for path in (model, operators):
        refuse_overwrite(path, force)
    error = 0.0

    def write(aside: Path) -> None:
        nonlocal error
        _convert(exported, aside)
        error = _largest_error(exported, aside, model)

    write_atomically(model, write)
    write_atomically(operators, lambda aside: _list_operators(model, aside))
    return OrtFiles(model, operators, error)


def _convert(exported: Path, output: Path) -> None:
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(output)
    options.add_session_config_entry("session.save_model_format", "ORT")
    open_session(read_bytes(exported), str(exported), options=options)


def _largest_error(exported: Path, converted: Path, name: Path) -> float:
    """Over the golden vectors, relative to the largest logit where that is above 1."""
    sessions = [open_session(read_bytes(path), str(path)) for path in (exported, converted)]
    read_metadata(sessions[1], str(name))
    errors = []
    for vector in golden.read(golden.path_beside(exported)).vectors:
        first, second = (session.run(["logits"], {"waveform": vector.wave[None]})[0] for session in sessions)
        errors.append(np.abs(first - second).max() / max(1.0, np.abs(first).max()))
    worst = float(np.max(errors))  # np.max, because max() may lose a NaN
    if not worst <= TOLERANCE:
        raise FramiError(f"{name} was not written: its logits differ from those of {exported} by {worst:.1e}.",
                         "Use the .onnx file, and report this.", exit_code=EXIT_CHECK_FAILED)
    return worst


def _list_operators(model: Path, output: Path) -> None:
    logging.getLogger("ort_format_model.utils").setLevel(logging.WARNING)  # it tells the temporary file's name
    create_config_from_models([model], output, False)
    # the tool's first lines name the folder that the file was made in
    lines = [line for line in output.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    output.write_text("\n".join([f"# operators that {model.name} needs", *lines, ""]), encoding="utf-8")
