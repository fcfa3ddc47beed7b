"""Use cases: what a person asks for, as jobs and edits, one file each."""
