"""Written series and tables of people to the people of an analysis."""
