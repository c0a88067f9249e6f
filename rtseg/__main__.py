"""python -m rtseg."""

from rtseg.cli import main

main()
