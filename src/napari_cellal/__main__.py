"""``python -m napari_cellal``: the command line where its script is not on the path."""

import sys

from napari_cellal.cli import main

sys.exit(main())
