"""Atlases and templates, fetched, checked and written."""
