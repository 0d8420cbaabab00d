"""Sources, shapes, and elements moved, picked and put together."""
