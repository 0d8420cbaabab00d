"""The executors of plans: the native back end, the reference back end, threads."""
