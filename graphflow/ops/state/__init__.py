"""Ops that change variables: assignment, row updates, the steps of optimizers."""
