"""Stores from strangers: JSON, numbers and codecs that were made to hurt; all hashes are right."""

import json

from attacks.scene import Attack
from attacks.scene_foreign import (
    array,
    bytes_of,
    first,
    header,
    index,
    pipeline,
    predicted,
    record,
    set_,
    sparse,
    store,
    table,
    to,
)
from attacks.scene_hostile import DEEP, Edit, edit, records

DEEPLY = "nested more than 64 deep"

JSON = [
    Attack("a header of 200,000 nested lists", "cache inspect", store(bytes_of("header.json", DEEP)), DEEPLY),
    Attack(
        "a header of 200,000 nested lists", "cache verify", store(bytes_of("header.json", DEEP)), DEEPLY, 1
    ),
    Attack(
        "a table of 200,000 nested lists", "extract", pipeline(bytes_of("table/000000.json", DEEP)), DEEPLY
    ),
    Attack("metadata of 200,000 nested lists", "train", pipeline(bytes_of("cls/zarr.json", DEEP)), DEEPLY),
    Attack(
        "a record of 200,000 nested lists",
        "cache inspect",
        store(first(records, lambda s, p: p.write_bytes(DEEP))),
        DEEPLY,
    ),
    Attack(
        "a record of 200,000 nested lists",
        "cache verify",
        store(first(records, lambda s, p: p.write_bytes(DEEP))),
        DEEPLY,
        1,
    ),
    Attack(
        "a failure of 200,000 nested lists",
        "cache inspect",
        store(lambda s, p: next((p / "failures").iterdir()).write_bytes(DEEP)),
        DEEPLY,
    ),
    Attack(
        "a seal of 200,000 nested lists", "predict", predicted(bytes_of("sealed/index.json", DEEP)), DEEPLY
    ),
    Attack(
        "provenance nested 100 deep",
        "cache inspect",
        store(header(lambda h: h["created"].update(x=json.loads("[" * 100 + "]" * 100)))),
        DEEPLY,
    ),
    Attack(
        "a key twice in the header",
        "cache inspect",
        store(bytes_of("header.json", b'{"header": {}, "header": {}, "sha256": ""}')),
        "the key 'header' twice",
    ),
    Attack(
        "NaN in a record",
        "cache verify",
        store(
            first(
                records,
                lambda s, p: p.write_bytes(
                    p.read_bytes().replace(b'"millilitres":', b'"millilitres":NaN,"x":')
                ),
            )
        ),
        "it holds NaN",
        1,
    ),
    Attack(
        "a number without end in a record",
        "train",
        pipeline(
            first(
                records,
                lambda s, p: p.write_bytes(p.read_bytes().replace(b'"row":', b'"row":' + b"9" * 5000)),
            )
        ),
        "is damaged",
    ),
    Attack(
        "a header in UTF-16",
        "cache inspect",
        store(bytes_of("header.json", '{"header": {}}'.encode("utf-16"))),
        "it is no JSON",
    ),
    Attack(
        "a header of a tebibyte",
        "cache inspect",
        store(sparse("header.json", 2**40)),
        "1099511627776 bytes, 4194304 at most",
    ),
    Attack(
        "metadata of a tebibyte", "cache verify", store(sparse("cls/zarr.json", 2**40)), "1048576 at most", 1
    ),
]
NUMBERS = [
    Attack(
        "tokens of 1e9 numbers",
        "cache inspect",
        store(header(lambda h: h["arrays"][0].update(item_shape=[10**9]))),
        "arrays.0.item_shape",
    ),
    Attack(
        "a slice of 2 TB",
        "cache verify",
        store(
            header(
                lambda h: h["arrays"][0].update(
                    item_shape=[60_000, 60_000], dims=["volume", "slice", "row", "col"]
                )
            )
        ),
        "beyond 268435456 bytes",
        1,
    ),
    Attack(
        "chunks of 1e12 slices", "cache inspect", store(header(set_("slice_chunk", 10**12))), "slice_chunk"
    ),
    Attack("no array at all", "train", pipeline(header(set_("arrays", []))), "wrong at arrays"),
    Attack(
        "1e12 slices in the seal",
        "predict",
        predicted(index(lambda i: i["n_slices"].__setitem__(0, 10**12))),
        "wrong at n_slices",
    ),
    Attack(
        "row -1 in the seal",
        "predict",
        predicted(index(lambda i: i["row"].__setitem__(0, -1))),
        "wrong at row",
    ),
    Attack(
        "a seal with a column too short",
        "cache inspect",
        store(index(lambda i: i["row"].pop()), name="sealed.zarr"),
        "columns have different lengths",
    ),
    Attack(
        "a short column of checksums in the sealed index",
        "cache verify",
        store(index(lambda i: i.update(crc32c={"cls": [1]})), name="sealed.zarr"),
        "columns have different lengths",
        1,
    ),
    Attack(
        "a seal with a volume twice",
        "cache inspect",
        store(index(lambda i: i["row"].__setitem__(0, i["row"][1])), name="sealed.zarr"),
        "have the same row",
    ),
    Attack("1e12 slices in the table", "extract", pipeline(table(set_("slices", 10**12))), "wrong at slices"),
    Attack(
        "1e12 slices in the table", "cache verify", store(table(set_("slices", 10**12))), "wrong at slices", 1
    ),
    Attack(
        "a table that begins at row -5", "cache verify", store(table(set_("first_row", -5))), "first_row", 1
    ),
    Attack(
        "a table row with a list for a name",
        "extract",
        pipeline(table(lambda t: t["rows"][0].update(participant_id=["x"]))),
        "rows.0.participant_id",
    ),
    Attack(
        "a volume of row -1", "train", pipeline(record(set_("row", -1))), "row is -1, not a number from 0"
    ),
    Attack("a volume of row -1", "cache verify", store(record(set_("row", -1))), "row is -1", 1),
    Attack(
        "a volume of row 1e12", "cache inspect", store(record(set_("row", 10**12))), "row is 1000000000000"
    ),
    Attack(
        "a volume beyond the table",
        "cache verify",
        store(record(set_("row", 77))),
        "the record says row 77, the table",
        1,
    ),
    Attack(
        "two volumes of one row",
        "train",
        pipeline(record(set_("row", 1))),
        "volumes sub-00/T1w and sub-01/T1w have the same row 1",
    ),
    Attack(
        "a volume whose name is a number",
        "cache inspect",
        store(record(set_("participant_id", 7))),
        "participant_id is 7, not text",
    ),
    Attack(
        "a volume without slices",
        "train",
        pipeline(record(lambda r: r["slices"].update(index=[], height_mm=[], world_z_mm=[]))),
        "from 1 to 65536 slices",
    ),
    Attack(
        "a volume with 80,000 slices",
        "cache export",
        to(
            store(
                record(
                    lambda r: r["slices"].update(
                        {n: [1] * 80_000 for n in ("index", "height_mm", "world_z_mm")}
                    )
                )
            ),
            out="x.h5",
        ),
        "from 1 to 65536 slices",
    ),
    Attack(
        "a slice index of -70000",
        "cache verify",
        store(record(lambda r: r["slices"]["index"].__setitem__(0, -70000))),
        "slices.index.0",
        1,
    ),
    Attack(
        "an affine of one row",
        "recompute",
        pipeline(record(lambda r: r["geometry"].update(affine=[[1, 0, 0, 0]]))),
        "affine|usage|No such",
    ),
    Attack(
        "an array of 1e12 slices",
        "cache verify",
        store(array(lambda m: m["shape"].__setitem__(1, 10**12))),
        "an extent of 1000000000000",
        1,
    ),
    Attack(
        "an array of -3 volumes",
        "train",
        pipeline(array(lambda m: m["shape"].__setitem__(0, -3))),
        "an extent of -3",
    ),
    Attack(
        "an array of 20,000 slices that are not there",
        "cache verify",
        store(array(lambda m: m["shape"].__setitem__(1, 20_000))),
        "all right",
        0,
    ),
    Attack(
        "chunks without slices",
        "train",
        pipeline(array(lambda m: m["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(1, 0))),
        "do not hold whole slices",
    ),
    Attack(
        "the failure of another volume",
        "cache verify",
        store(lambda s, p: edit(next((p / "failures").iterdir()), set_("participant_id", "sub-00"))),
        "is the failure of another volume",
        1,
    ),
]


def codec(*names: str) -> Edit:
    return lambda meta: meta.update(codecs=[{"name": name, "configuration": {}} for name in names])


CODECS = [
    Attack(
        "chunks in blosc",
        "train",
        pipeline(array(codec("bytes", "blosc"))),
        "coded as 'bytes', 'blosc'; only plain",
    ),
    Attack(
        "chunks in gzip",
        "predict",
        predicted(array(codec("bytes", "gzip"))),
        "coded as 'bytes', 'gzip'; only plain",
    ),
    Attack(
        "chunks in a codec that runs code",
        "cache verify",
        store(array(codec("bytes", "numcodecs.pickle"))),
        "numcodecs.pickle'; only plain",
        1,
    ),
    Attack(
        "chunks without checksums",
        "cache export",
        to(store(array(codec("bytes"))), out="x.h5"),
        "coded as 'bytes'; only plain",
    ),
    Attack(
        "a storage transformer",
        "cache verify",
        store(array(set_("storage_transformers", [{"name": "x"}]))),
        "storage_transformers is",
        1,
    ),
    Attack(
        "pads of 0", "cache verify", store(array(set_("fill_value", 0))), "fill_value is 0 in its metadata", 1
    ),
    Attack(
        "numbers of another kind",
        "train",
        pipeline(array(set_("data_type", "int8"))),
        "dtype is 'int8' in its metadata",
    ),
    Attack(
        "another chunk grid",
        "cache verify",
        store(array(lambda m: m["chunk_grid"].update(name="rectilinear"))),
        "chunk_grid is",
        1,
    ),
    Attack(
        "keys with slashes",
        "cache verify",
        store(array(lambda m: m["chunk_key_encoding"]["configuration"].update(separator="/"))),
        "chunk_key_encoding is",
        1,
    ),
    Attack(
        "a shard of a million volumes",
        "cache verify",
        store(
            array(lambda m: m["chunk_grid"]["configuration"]["chunk_shape"].__setitem__(0, 10**6)),
            name="packed.zarr",
        ),
        "chunks of 1000000 volumes",
        1,
    ),
]


ATTACKS = [*JSON, *NUMBERS, *CODECS]
