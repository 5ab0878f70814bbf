"""Lets `python -m groundplane` be the command."""

from groundplane.cli import main

main()
