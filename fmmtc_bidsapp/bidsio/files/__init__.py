"""Names, sidecars and whole files: the plumbing under every other room here."""
