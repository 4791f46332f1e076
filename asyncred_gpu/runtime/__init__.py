"""Where updates run: a pool of processes, a GPU's streams, or a simulation."""
