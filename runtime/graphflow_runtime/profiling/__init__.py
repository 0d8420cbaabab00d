"""Profiles and traces of runs, and what the machine can do at best."""
