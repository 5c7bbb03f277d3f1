"""``python -m unigrad`` is the program ``unigrad``."""

import sys

from unigrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
