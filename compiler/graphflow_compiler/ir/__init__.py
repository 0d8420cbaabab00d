"""The levels between the graph and machine code: Program, kernels, loops."""
