"""CUDA sources and their loader."""
