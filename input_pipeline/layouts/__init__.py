"""How datasets lie on disk, for the readers: their folders, files, lists and splits."""
