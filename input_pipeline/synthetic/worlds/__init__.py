"""Drawings made to carry over to real cameras: varied rather than pretty.

The people, cameras, backgrounds, light and crops of presets whose drawing is `worlds`. What is in
an image follows from the settings and the image's number alone, as everywhere in `synthetic`.
"""
