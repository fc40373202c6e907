"""What a user can mend: the one family of errors that the command line prints as a line.

    FewlabelsError
      DataError        images, labels or files that are missing, damaged or do not fit
      ConfigError      a setting, recipe or option that does not exist or does not fit
        TooShortError  a budget of time too short for one step
      CheckpointError  a run folder or model file that cannot be used as it is

Each message says what was expected, what came, and what to do. Wrong arguments of a Python
caller are ValueError or TypeError; a slip of our own is an assert.
"""


class FewlabelsError(Exception):
    """Something the user can mend; the command line prints it as one line and exits with 2."""


class DataError(FewlabelsError):
    """Images, labels or files that are missing, damaged or do not fit."""


class ConfigError(FewlabelsError):
    """A setting, recipe or option that does not exist or does not fit."""


class TooShortError(ConfigError):
    """A budget of time in which not one step of a training is done."""


class CheckpointError(FewlabelsError):
    """A run folder or model file that cannot be used as it is."""
