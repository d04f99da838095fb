"""Image files: whether they are whole, how they are encoded and resized, and folders of them."""
