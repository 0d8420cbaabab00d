"""Sessions: feeds, fetches, and the preparation of a call of `run`."""
