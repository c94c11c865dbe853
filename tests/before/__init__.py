"""A lab as it was stored before the package was cut into folders: who lived in it, and how it was written."""
