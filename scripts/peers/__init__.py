"""What bench_peers.py compares with: a small runner a method, each run by the interpreter of its own environment.

The runners (run_*.py) import only what their environment has, and their siblings here.
"""
