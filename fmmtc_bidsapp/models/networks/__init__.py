"""Networks that are trained here, each from its parts."""
