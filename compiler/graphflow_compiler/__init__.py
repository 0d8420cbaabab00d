"""The compiler: a signature of the user's graph in, a native Plan out. `compile` and `explain` are its public entries."""
