"""One policy per module: sleep, term, roll-out, lost nodes, runs without a coordinator."""
