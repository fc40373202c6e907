"""Which of the processes that `torchrun` started this one is; nothing here loads torch."""

import os


def is_alone() -> bool:
    """Whether no `torchrun` started this process."""
    return "TORCHELASTIC_RUN_ID" not in os.environ


def is_first() -> bool:
    """Whether this process is alone or the first of several: it writes the run and speaks."""
    return is_alone() or os.environ["RANK"] == "0"
