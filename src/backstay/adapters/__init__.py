"""One file per outside system. Adapters do not import each other."""
