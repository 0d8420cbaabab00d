"""Sessions: what is fed and fetched, and how a call of `run` is prepared."""
