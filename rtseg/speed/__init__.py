"""How fast a network is, honestly: rows of networks and engines, each checked before it is timed, with conditions."""
