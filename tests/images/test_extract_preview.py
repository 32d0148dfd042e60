"""Previews: the right slices, from top to bottom, with the right sides."""

import io

import numpy as np
import pytest
from PIL import Image

from cache_schema.format.record import Entities, Geometry, Slices, SourceFile, UsedForeground, VolumeDraft
from extract.slices.preview import TILE, column_sides, draw_tile, mosaic, spread_tiles

Matrix = tuple[tuple[float, float, float, float], ...]


def geometry_of(column: tuple[float, float, float], affine=np.eye(4), orientation="RAS") -> Geometry:  # noqa: B008
    """Canvas columns run along `column` in native voxels."""
    to_native = np.zeros((3, 4))
    to_native[:, 1] = column
    rows = tuple(tuple(float(v) for v in row) for row in to_native)
    return Geometry(
        native_shape=(9, 9, 9),
        affine=tuple(tuple(float(v) for v in row) for row in affine),
        orientation=orientation,
        spacing_mm=(1.0, 1.0, 1.0),
        oblique_degrees=0.0,
        canvas=(56, 56),
        pixel_mm=(1.0, 1.0),
        canvas_to_native=rows,
        outside_field=0.0,
    )


def draft_of(count: int) -> VolumeDraft:
    return VolumeDraft(
        participant_id="a",
        session_id="",
        volume_id="T1w",
        entities=Entities(),
        source=SourceFile(path="a", bytes=1, mtime_ns=1, sha256="0" * 64),
        geometry=geometry_of((1, 0, 0)),
        slices=Slices(
            index=tuple(range(count)),
            height_mm=tuple(2.0 * (count - i) for i in range(count)),
            world_z_mm=(0.0,) * count,
            n_volume=count,
            spacing_mm=2.0,
        ),
        foreground=UsedForeground(kind="stripped", millilitres=1.0),
        intensity_quantiles={},
    )


@pytest.mark.parametrize(
    ("column", "affine", "orientation", "sides"),
    [
        ((1, 0, 0), np.diag([1, 1, 1, 1]), "RAS", ("L", "R")),
        ((-1, 0, 0), np.diag([1, 1, 1, 1]), "RAS", ("R", "L")),
        ((-1, 0, 0), np.diag([-2, 1, 1, 1]), "LAS", ("L", "R")),
        ((0, 0, 1), np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), "PSR", ("L", "R")),
        ((0, 1, 0), np.diag([1, 1, 1, 1]), "RAS", ("P", "A")),
        ((1, 0, 0), np.diag([1, 1, 1, 1]), "unknown", ("", "")),
    ],
)
def test_letters_follow_the_world_and_not_the_array(column, affine, orientation, sides):
    assert column_sides(geometry_of(column, affine, orientation)) == sides


@pytest.mark.parametrize(("count", "expected"), [(1, [0]), (3, [0, 1, 2]), (12, list(range(12)))])
def test_few_slices_are_all_shown(count, expected):
    assert spread_tiles(count) == expected


@pytest.mark.parametrize("count", [13, 47, 160])
def test_many_slices_are_spread_evenly(count):
    chosen = spread_tiles(count)
    steps = np.diff(chosen)
    assert len(chosen) == 12
    assert steps.min() >= 1
    assert steps.max() - steps.min() <= 1
    assert abs((chosen[0]) - (count - 1 - chosen[-1])) <= 1


def test_the_mosaic_shows_high_slices_first_as_they_were_seen():
    count = 13
    images = np.stack([np.full((56, 56), index / count, np.float32) for index in range(count)])
    sheet = np.asarray(Image.open(io.BytesIO(mosaic(images[spread_tiles(count)], draft_of(count)))))
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * TILE, 6 * TILE)
    for place, index in enumerate(reversed(spread_tiles(count))):
        row, column = divmod(place, 6)
        tile = sheet[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        assert tile[5, TILE // 2] == round(255 * index / count)


def test_letters_are_burnt_in_on_their_own_sides():
    black = np.zeros((224, 224), np.float32)
    left, right = (np.asarray(draw_tile(black, *sides, "")) for sides in (("L", ""), ("", "R")))
    assert left[:, : TILE // 4].max() > 200
    assert left[:, TILE // 4 :].max() == 0
    assert right[:, -TILE // 4 :].max() > 200
    assert right[:, : -TILE // 4].max() == 0


def test_columns_are_not_mirrored():
    image = np.zeros((224, 224), np.float32)
    image[20:60, 10:100] = 1.0
    tile = np.asarray(draw_tile(image, "", "", ""))
    assert tile[20, 20] == 255
    assert tile[20, -20] == 0


def test_a_picture_shows_any_grey_and_keeps_the_shape_of_its_canvas():
    """The preview of a z-score, on a canvas that is higher than wide."""
    images = np.stack([np.full((84, 42), 1.0, np.float32)])
    tile = np.asarray(Image.open(io.BytesIO(mosaic(images, draft_of(1), span=(-3.0, 5.0)))))
    assert tile.shape == (TILE, TILE)
    assert (tile[5, TILE // 4 : -TILE // 4] == round(255 * 4 / 8)).all()
    assert not tile[5, : TILE // 4].any()
    assert not tile[5, -TILE // 4 :].any()
