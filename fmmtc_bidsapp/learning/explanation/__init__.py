"""What a fitted model goes by: maps, patterns, shares of the streams."""
