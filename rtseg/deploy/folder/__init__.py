"""`rtseg predict`: files, folders and globs of images -> a folder of results."""
