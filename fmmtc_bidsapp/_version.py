"""The released version; tags follow it."""

__version__ = "0.1.0"
