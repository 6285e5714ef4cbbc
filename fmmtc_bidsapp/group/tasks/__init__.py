"""What runs as nodes, and the graphs they stand in."""
