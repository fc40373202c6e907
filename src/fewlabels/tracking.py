"""What a training notes, for TensorBoard: `tensorboard --logdir RUN` shows it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fewlabels.errors import ConfigError


class Board:
    """A watcher that writes every note as a point of a curve, over the steps.

    Parameters
    ----------
    folder : for the event files; points that an earlier, interrupted training wrote there are
        replaced, as a training that goes on notes all its epochs again

    Raises ConfigError where TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConfigError(
                "training.tensorboard needs TensorBoard, which is not installed: "
                "pip install 'fewlabels[track]'"
            ) from error
        self.writer: Any = SummaryWriter(str(folder), purge_step=0)

    def started(self, stage: str, total: int | None, unit: str) -> None: ...

    def advanced(self, stage: str, count: int) -> None: ...

    def stands(self, stage: str, facts: Mapping[str, float]) -> None: ...

    def noted(self, stage: str, facts: Mapping[str, float]) -> None:
        for name, value in facts.items():
            if name != "step":
                self.writer.add_scalar(f"{stage}/{name}", value, int(facts.get("step", 0)))
        self.writer.flush()

    def ended(self, stage: str, seconds: float) -> None: ...

    def said(self, message: str) -> None: ...

    def close(self) -> None:
        self.writer.close()
