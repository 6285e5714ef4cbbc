"""Versions of the packages behind a result."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_versions"]

_PACKAGES = (
    *("nibabel", "nilearn", "nipype", "nireports", "numpy", "pandas", "pybids"),
    *("scikit-learn", "scipy", "templateflow"),
)


def package_versions() -> dict[str, str]:
    """List the versions of the packages the participant level uses, as far as installed."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # A dependency that this installation does without.
            continue
    return found
