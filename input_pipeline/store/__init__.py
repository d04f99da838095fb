"""The prepared store: the images of each split in a few files, with random access by number."""
