"""What a script needs around its model: flags, files, messages."""
