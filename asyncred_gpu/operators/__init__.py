"""Measurement operators: computed tomography and block compressed sensing."""
