"""Files: the native format, checkpoints."""
