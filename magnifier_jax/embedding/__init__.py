"""A network and its weights as one object: images in, embeddings out."""
