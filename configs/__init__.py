"""Configurations: one `get_config()` a file, as differences from `default.py`."""
