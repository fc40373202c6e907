"""`python -m fewlabels` is `fewlabels`."""

import sys

from fewlabels.cli import main

if __name__ == "__main__":
    sys.exit(main())
