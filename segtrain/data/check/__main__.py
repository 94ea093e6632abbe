"""``python -m segtrain.data.check``; see ``command``."""

import sys

from segtrain.data.check.command import main

sys.exit(main())
