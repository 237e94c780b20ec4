"""Records -> tables -> decision. Imports no torch."""
