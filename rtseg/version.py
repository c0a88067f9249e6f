"""Which rtseg this is: at the bottom of the package, so that no module imports all of it to say so."""

import importlib.metadata

VERSION = importlib.metadata.version("rtseg")
