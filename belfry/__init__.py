"""The composition root: command line, settings, logging, `up`, and the audit."""

__version__ = "0.1.0"
