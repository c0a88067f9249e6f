"""ImageNet: class folders or shards in, augmented batches out."""
