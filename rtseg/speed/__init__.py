"""How fast networks are: each is checked on each engine before it is timed, and reported with its conditions."""
