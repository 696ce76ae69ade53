"""What every long-lived process of geopod needs: variables, signals, a watch over its loop.

It knows nothing of runs, nodes or layers. Import from its modules.
"""
