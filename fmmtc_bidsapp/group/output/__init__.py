"""What was found, as files: tables, explanations, the bundle."""
