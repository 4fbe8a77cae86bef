"""torchaudio, also where its compiled extension cannot be loaded.

torchaudio's wheels on the public index are linked against CUDA, so beside a CPU build of torch the import dies with
an OSError, although all that is used here (filter banks, resampling, masking) is pure PyTorch. Only in that case it
is imported with a stand-in for the module that loads the extension. Nothing else imports torchaudio directly.
"""

import sys
import types

try:
    import torchaudio
except OSError:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]
    _stand_in = types.ModuleType("torchaudio._extension")
    _stand_in._IS_TORCHAUDIO_EXT_AVAILABLE = False  # type: ignore[attr-defined]
    _stand_in.fail_if_no_align = lambda function: function  # type: ignore[attr-defined]
    _stand_in._check_cuda_version = lambda: None  # type: ignore[attr-defined]
    sys.modules["torchaudio._extension"] = _stand_in
    import torchaudio

import torchaudio.functional
import torchaudio.transforms

__all__ = ["torchaudio"]
