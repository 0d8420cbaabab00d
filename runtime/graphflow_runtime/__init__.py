"""The runtime: sessions, their variables, and the back ends that run plans."""
