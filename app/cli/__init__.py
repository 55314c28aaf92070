"""The command line: what `clickfold` does before and beside the service."""
