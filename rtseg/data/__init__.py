"""Files -> Sample: the data sets in their official layouts, a user's own folder, generated scenes, augmentation."""
