"""Partitions: layer headers and a node count in, one window per node out. Pure: no file, no clock.

`make_plan` is the whole room in one call. The numbers it needs (boxes of features, which blocks
hold bytes) are read by the layers room; this one opens nothing.
"""

from geopod.partitions.inputs import Box, NodeLimits, RasterInput, VectorInput
from geopod.partitions.options import PartitionOptions, options_record, read_options
from geopod.partitions.planning import make_plan

__all__ = [
    "Box",
    "NodeLimits",
    "PartitionOptions",
    "RasterInput",
    "VectorInput",
    "make_plan",
    "options_record",
    "read_options",
]
