"""Scores large files with an exported SavedModel by Apache Beam: every line once, also after a kill."""

from .options import ScoringOptions
from .run import score_files

__all__ = ["ScoringOptions", "score_files"]
