"""Explanations of a fitted model: maps, patterns, shares of the streams."""
