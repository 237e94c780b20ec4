"""Tables and decision -> pages, exports. Imports no torch."""
