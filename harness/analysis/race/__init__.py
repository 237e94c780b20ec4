"""What a race runs next, and what its rounds say; how often a study was looked at."""
