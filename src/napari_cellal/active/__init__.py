"""Active learning: which cell to ask about next, and what is learned from the answers."""
