"""From the scans of a person to what an encoder is given."""
