"""The projector's arithmetic in C++ that CUDA can share, and its build for the host."""
