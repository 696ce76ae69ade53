"""geopod's artifact store over HTTP: bundles, results and logs behind capability tokens."""
