"""A node, geopod's side: dials the coordinator, stages its partition, commits results.

It never imports or opens what users send: that is the runner's work, in another process.
"""
