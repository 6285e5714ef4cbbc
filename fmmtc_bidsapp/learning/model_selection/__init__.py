"""Folds, the nested procedure, and its shuffled outcomes."""
