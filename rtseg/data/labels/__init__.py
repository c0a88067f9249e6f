"""Files of label tools -> images and masks of class numbers: `rtseg convert-labels`. One format a file."""
