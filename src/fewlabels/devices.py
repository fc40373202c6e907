"""Where to compute."""

import torch

from fewlabels.errors import ConfigError


def resolve(device: str) -> str:
    """`auto` is the first GPU where there is one, else the CPU.

    Raises ConfigError where a device is asked that is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda needs a GPU that torch can use; there is none: use auto")
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"a device is auto, cpu or cuda; got {device!r}")
    return device
