"""Variables: assignment, row updates, the steps of optimizers."""
