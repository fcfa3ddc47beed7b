"""``python -m napari_cellal.cli``."""

import sys

from napari_cellal.cli import main

sys.exit(main())
