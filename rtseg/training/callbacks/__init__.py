"""What happens beside the steps of a training, one callback a file."""
