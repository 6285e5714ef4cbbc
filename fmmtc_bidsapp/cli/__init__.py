"""Argv to plan to the chosen level."""
