"""``python -m unigrad`` is the program ``unigrad``."""

import sys

from unigrad.cli import main

sys.exit(main())
