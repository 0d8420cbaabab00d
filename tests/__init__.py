"""A package, so that `from tests.<module> import ...` never finds another project's `tests` in site-packages."""
