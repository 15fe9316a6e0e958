"""`python -m pipeline` is `cascade`."""

from pipeline.cli import main

main()
