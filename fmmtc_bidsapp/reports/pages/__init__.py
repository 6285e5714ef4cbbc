"""Pages, put together."""
