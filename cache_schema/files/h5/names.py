"""What is called how in an HDF5 export: for who writes one, says where things lie in it, or reads it."""

import re

CHECKSUMS = "checksums"
"""Group with an int64 dataset per array, (volume, chunk): the crc32c, or -1 where there is no chunk."""
OBJECTS = "objects"
"""Group with one uint8 dataset per folder of objects, and `index`: name -> [dataset, start, length]."""
H5_INDEX = "index"
ROOT = "root"
"""The dataset of objects that lie in no folder."""
CHUNK = re.compile(r"(?P<array>[^/]+)/c\.(?P<row>\d+)\.(?P<block>\d+)(\.0)*")
