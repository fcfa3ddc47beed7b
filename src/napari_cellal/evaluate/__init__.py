"""How good a model is, on cells that it has not seen."""
