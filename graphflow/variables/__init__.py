"""Variables: how they are made, shared by scope, initialised and regularised."""
