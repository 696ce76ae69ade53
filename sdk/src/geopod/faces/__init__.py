"""Faces: geopod under the names of other systems, so that their users change one import.

A face maps names, arguments and return shapes onto the client, and decides nothing else. Each is
imported by its own name; `import geopod` loads none.
"""
