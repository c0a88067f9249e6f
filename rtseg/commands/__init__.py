"""Commands of `rtseg`, a file for each subject. `rtseg/cli.py` joins them with those of the studies."""
