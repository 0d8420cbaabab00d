"""Services for scripts around a model: command-line flags, files, log messages."""
