"""A trained network at work: pictures in, class maps out, and how fast. No Lightning here."""
