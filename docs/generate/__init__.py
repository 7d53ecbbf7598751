"""The reference pages that are written from the code: `python -m docs.generate`, and with --check only compared."""
