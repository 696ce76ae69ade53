"""Layers: open a source, read its header, read a partition into scratch, publish results.

Reads files of this machine, of object stores and of the web, each with its layer's own keys
(`access`); never re-derives a plan, never sees a user's code. GDAL, pyarrow, obstore and pandas are
loaded by the module that needs them: an environment of rasters alone never imports pandas.
"""
