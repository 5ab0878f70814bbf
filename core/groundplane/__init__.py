"""Groundplane: a self-hosted backend with collections, rules and a PocketBase-compatible wire."""

__version__ = "0.1.0"
