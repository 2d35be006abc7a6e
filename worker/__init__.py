"""Meeting recordings in, speaker-attributed transcripts and summaries out."""

__version__ = "0.1.0"
