"""Making a model: data in batches, losses, optimisation, and the callbacks around them. Lightning lives here alone."""
