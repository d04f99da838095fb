"""How one person is drawn: the skeleton, the body over it, clothes and bags."""
