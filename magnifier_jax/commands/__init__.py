"""The commands, thin over the functions of the library."""
