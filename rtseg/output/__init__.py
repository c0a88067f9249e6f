"""What results are written as: folders, charts."""
