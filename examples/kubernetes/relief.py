"""What each node runs: `params` holds its own part of every layer."""


def relief(params):
    """Return the lowest and the highest pixel of this node's part, in metres."""
    dem = params["2021"]
    rows, cols = dem["core"]
    heights = dem["raster"][0, rows, cols]
    return {
        "lowest": float(heights.min()),
        "highest": float(heights.max()),
        "pixels": int(heights.size),
    }
