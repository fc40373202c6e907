"""Learn to recognise images from a few labelled and many unlabelled ones, on your own machine.

    import fewlabels

    photos = fewlabels.read("photos")              # photos/train/CLASS/*.jpg, photos/unlabeled/*
    model = fewlabels.fit(photos)                  # picks a recipe; budget_seconds=600 for a time
    answer = model.predict("new.jpg")              # answer.labels, answer.probability
    model.save("runs/photos")

Names are loaded when they are first used, as torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewlabels.errors import CheckpointError, ConfigError, DataError, FewlabelsError
    from fewlabels.fitting import fit
    from fewlabels.images import Images, ImageSet
    from fewlabels.model import Model, Prediction
    from fewlabels.sources import read

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "FewlabelsError",
    "ImageSet",
    "Images",
    "Model",
    "Prediction",
    "fit",
    "read",
]

_ROOMS = {
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "FewlabelsError": "errors",
    "ImageSet": "images",
    "Images": "images",
    "Model": "model",
    "Prediction": "model",
    "fit": "fitting",
    "read": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
