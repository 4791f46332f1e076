"""The experiments of the Async-RED paper and its supplement, again: scripts/paper_tables.py."""
