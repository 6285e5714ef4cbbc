"""Tables and series in files, read and checked."""
