"""A trained network at work: images in, class maps out, and how fast. No Lightning here."""
