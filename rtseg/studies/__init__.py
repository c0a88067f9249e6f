"""Questions asked of trained networks; the answers are pages and tables."""
