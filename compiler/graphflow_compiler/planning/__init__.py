"""Levels 2 to 5: from a Program to a Plan, its memory, and plans kept on disk."""
