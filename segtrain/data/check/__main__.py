"""Entry point of ``python -m segtrain.data.check``."""

import sys

from segtrain.data.check.command import main

sys.exit(main())
