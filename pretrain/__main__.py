"""python -m pretrain."""

from pretrain.commands import main

main()
