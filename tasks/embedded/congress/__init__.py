"""Generated hearings of Congress."""
