"""What a race runs next, and what its rounds say."""
