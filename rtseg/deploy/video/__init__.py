"""Films frame by frame through a network: reading, writing, and what `rtseg predict` does with them."""
