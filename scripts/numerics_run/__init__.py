"""The runs behind docs/numerics.md, one module each; `scripts/numerics.py` is their entry."""
