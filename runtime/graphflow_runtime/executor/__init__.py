"""What runs a plan: the native back end, the reference back end, threads."""
