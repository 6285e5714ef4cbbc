"""The participant level."""
