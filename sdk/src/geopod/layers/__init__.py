"""Layers: open a source, read its header, read a partition into scratch, publish results.

Reads local files only by name or `file://`; never re-derives a plan, never sees a user's code.
GDAL, pyarrow and pandas are loaded by the module that needs them: an environment of rasters alone
never imports pandas.
"""
