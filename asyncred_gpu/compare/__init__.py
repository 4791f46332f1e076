"""Asynchronous, synchronous and serial RED on one problem, one after the other: scripts/compare_modes.py."""
