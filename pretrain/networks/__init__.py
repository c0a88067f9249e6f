"""The classifiers that are pre-trained."""
