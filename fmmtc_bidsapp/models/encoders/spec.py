"""The specification of an encoder, available before it or any heavy library is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

__all__ = ["EncoderSpec"]


@dataclass(frozen=True)
class EncoderSpec:
    """One encoder: name, input, output, and origin.

    Examples
    --------
    >>> from fmmtc_bidsapp.models.encoders.spec import EncoderSpec
    >>> spec = EncoderSpec(
    ...     name="means", title="Mean of each parcel", n_frames=16, width=424,
    ...     normalisation="none", padding="refused", pooling="mean over clips",
    ... )
    >>> spec.is_pretrained
    False
    """

    name: str
    """Of ``--encoder``."""
    title: str
    """In every table, report and message."""
    n_frames: int
    """Volumes of a clip, at most."""
    width: int | None
    """Features of a clip; None where the weights decide."""
    normalisation: str
    """How the series are scaled; as text, such as ``as --normalisation says``."""
    padding: str
    """Treatment of a run that is shorter than a clip."""
    pooling: str
    """How clips, and what varies within them, become one vector."""
    atlas: str = ""
    """Label of the atlas of the training data; empty where there were none."""
    atlas_digest: str = ""
    """sha256 of the labels of that atlas, as `fmmtc_bidsapp.records.Atlas.digest`."""
    n_parcels: int | None = None
    """Parcels that are needed; None for any number."""
    tr_s: float | None = None
    """Repetition time of the training data."""
    reads_coordinates: bool = False
    """Whether it reads the coordinates of the parcels."""
    is_differentiable: bool = True
    """Whether ``--explain parcels`` can go back through it."""
    code_licence: str = "Apache-2.0"
    weights_licence: str = ""
    """Empty where there are no weights to fetch."""
    terms: str = ""
    """What the licence of the weights asks for or forbids, in a sentence."""
    source: str = ""
    """Address of the weights."""
    repository: str = ""
    """``owner/name`` on the Hugging Face hub."""
    subfolder: str = ""
    files: tuple[str, ...] = ()
    """Of the subfolder, that are needed."""
    sha256: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """By file, where the publisher's are known."""
    citation: str = ""
    """Key in ``boilerplate/references.bib``."""

    @property
    def is_pretrained(self) -> bool:
        """Whether it has weights of a publisher."""
        return bool(self.weights_licence)

    @property
    def folder(self) -> Path:
        """Where its weights lie in the cache."""
        return Path(self.name, self.subfolder)
