"""Written files to self-contained HTML."""
