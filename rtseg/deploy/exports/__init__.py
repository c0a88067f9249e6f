"""Exported networks as files: each says what it is, and proves that it is right."""
