"""What defining an op takes: helpers that register nothing."""
