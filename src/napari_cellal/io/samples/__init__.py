"""Images to try things on: drawn ones with exact truth, and BCCD where it is at hand."""
