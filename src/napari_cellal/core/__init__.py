"""The data model: cells, edits and their history, without Qt, torch or files."""
