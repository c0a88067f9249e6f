"""Parts of networks that do not depend on a task."""
