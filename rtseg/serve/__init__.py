"""A network behind HTTP: the page of `rtseg.page` with the engines of this machine: `rtseg serve`."""
