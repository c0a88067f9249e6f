"""Speed of networks and engines side by side: the command, its tables, its plot, and the tables of docs/results.md."""
