"""``python -m sting``."""

import sys

from sting.cli import main

sys.exit(main())
