"""Finding cells: the classical detector, and networks that are trained on confirmed boxes."""
