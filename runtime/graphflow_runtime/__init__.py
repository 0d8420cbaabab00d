"""The runtime: sessions, their variables, and what runs plans."""
