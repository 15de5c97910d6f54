"""``python -m ewmalab``."""

from ewmalab.cli import main

main()
