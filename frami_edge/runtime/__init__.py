"""What runs on the device: numpy, onnxruntime and the standard library, nothing else of this package.

    from frami_edge.runtime import Classifier, Stream

    classifier = Classifier("student.onnx")
    classifier.predict(wave, sample_rate=44100)  # [("rain", 0.97), ("sea waves", 0.02), ...]

    stream = Stream(classifier, window=1.0, hop=0.5, sample_rate=44100)
    for heard in stream.feed(block):  # the windows that a block of any size completes
        print(heard.begin, heard.best(top=1))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frami_edge.runtime.classifier import Classifier as Classifier
    from frami_edge.runtime.stream import Stream as Stream

_MODULES = {"Classifier": "classifier", "Stream": "stream"}


def __getattr__(name: str) -> Any:
    # lazy: the error classes of this package are imported by every command, numpy and onnxruntime are not
    if name in _MODULES:
        return getattr(import_module(f"frami_edge.runtime.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'frami_edge.runtime' has no attribute '{name}'")
