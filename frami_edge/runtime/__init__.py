"""What runs on the device: numpy, onnxruntime and the standard library, nothing else of this package.

    from frami_edge.runtime import Classifier

    classifier = Classifier("student.onnx")
    classifier.predict(wave, sample_rate=44100)  # [("rain", 0.97), ("sea waves", 0.02), ...]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frami_edge.runtime.classifier import Classifier as Classifier


def __getattr__(name: str) -> Any:
    # lazy: the error classes of this package are imported by every command, numpy and onnxruntime are not
    if name == "Classifier":
        from frami_edge.runtime.classifier import Classifier

        return Classifier
    raise AttributeError(f"module 'frami_edge.runtime' has no attribute '{name}'")
