"""Parts of networks that know no task."""
