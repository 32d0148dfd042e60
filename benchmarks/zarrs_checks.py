"""Whether zarrs notices a flipped bit, by what is asked for: why the store reads its chunks itself.

python benchmarks/zarrs_checks.py
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import zarr

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from made_up_store import example_arrays, example_draft, example_header, example_key, example_row

from cache_schema import StoreWriter, open_store, pack

WANTED = {
    "all volumes, all slices": (slice(0, 4), slice(0, 20)),
    "one volume, all slices": (slice(0, 1), slice(0, 20)),
    "all volumes, 15 of 20 slices": (slice(0, 4), slice(0, 15)),
    "one volume, one slice": (slice(0, 1), slice(7, 8)),
}


def noticed(read: Any) -> str:
    """Whether reading is an error."""
    try:
        read()
    except Exception as error:
        return f"refused ({type(error).__name__})"
    return "READ WITHOUT A WORD"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = f"{folder}/plain.zarr", f"{folder}/packed.zarr"
        header = example_header(("cls",), dim=64, slice_chunk=20)
        rows = [example_row(example_key(number), 20) for number in range(4)]
        writer = StoreWriter.open(plain, header, rows)
        for number, row in enumerate(rows):
            writer.commit(example_draft(row.key, 20), example_arrays(header, 20, number))
        pack(plain, packed, shard_volumes=4)
        for location in (plain, packed):
            path = Path(location) / "cls/c.0.0.0"  # the chunk of the first volume lies at its beginning
            data = bytearray(path.read_bytes())
            data[1000] ^= 1
            path.write_bytes(data)
            with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
                array = zarr.open_array(f"{location}/cls", mode="r")
            for what, wanted in WANTED.items():
                print(f"{Path(location).stem:7} zarrs  {what:30} {noticed(lambda a=array, w=wanted: a[w])}")
            store = open_store(location)
            for what, read in {
                "one volume, all slices": lambda s=store: s.read("cls", s.entries[:1]),
                "one volume, one slice": lambda s=store: s.read_slices("cls", s.entries[0], [7]),
            }.items():
                print(f"{Path(location).stem:7} store  {what:30} {noticed(read)}")


if __name__ == "__main__":
    main()
