"""The parts of a simulated scan, each against what it promises in its docstring."""

import numpy as np
import pytest
from scipy import ndimage

pytest.importorskip("nilearn")
nibabel = pytest.importorskip("nibabel")

from extract.simulate.acquire import Pose, Protocol, acquire, head_points, rotation, store  # noqa: E402
from extract.simulate.deform import Anatomy, to_template, widening  # noqa: E402
from extract.simulate.template import Template, load_template, packaged_file  # noqa: E402

STILL = Pose((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def plain(spacing: float = 3.0, orientation: str = "RAS") -> Protocol:
    return Protocol(
        spacing_mm=(spacing, spacing, spacing),
        orientation=orientation,
        dtype="float32",
        codes=(1, 1),
        tilt_degrees=0.0,
        margin_mm=(0.0, 0.0, 0.0),
        gamma=1.0,
        gain=1.0,
        noise=0.0,
        bias=0.0,
    )


@pytest.fixture(scope="module")
def template() -> Template:
    return load_template()


def fluid_millilitres(template: Template, widened_mm: float) -> float:
    """Dark voxels in the middle of the head, where the lateral ventricles are."""
    anatomy = Anatomy((1, 2), (1.0, 1.0, 1.0), shape_mm=0.0, ventricle_mm=widened_mm)
    image = acquire(template, anatomy, (), plain(2.0), STILL, (3,)).image
    world = np.indices(image.shape).reshape(3, -1).T @ image.affine[:3, :3].T + image.affine[:3, 3]
    inside = np.all((world > (-30, -45, 8)) & (world < (30, 32, 28)), axis=1)
    dark = np.asarray(image.dataobj).ravel() < 0.45
    return float((inside & dark).sum() * 8 / 1000)


def test_ventricles_widen_with_the_amount(template: Template) -> None:
    volumes = [fluid_millilitres(template, amount) for amount in (-1.0, 0.0, 2.0, 4.0)]
    assert volumes == sorted(volumes)
    assert volumes[2] > 1.3 * volumes[1]


@pytest.mark.parametrize("amount", [-2.0, 7.0])
def test_widening_does_not_fold_the_brain(template: Template, amount: float) -> None:
    """The largest planned amounts keep the map one-to-one: its Jacobian stays positive."""
    field = widening(amount, template)
    jacobian = np.stack([np.stack(np.gradient(field[a], 3.0), axis=-1) for a in range(3)], axis=-2)
    assert np.linalg.det(jacobian + np.eye(3)).min() > 0


def test_plain_head_is_the_template(template: Template) -> None:
    anatomy = Anatomy((0,), (1.0, 1.0, 1.0), shape_mm=0.0)
    points = np.array([[-20.0, 3.0, 41.0], [10.0, -55.0, 2.0]], dtype=np.float32).T
    expected = points - template.affine[:3, 3][:, None]
    assert np.allclose(to_template(points, anatomy, template), expected, atol=1e-4)


def test_scale_enlarges_the_head(template: Template) -> None:
    big, small = (Anatomy((0,), (s, s, s), shape_mm=0.0) for s in (1.1, 0.9))
    sizes = [
        (np.asarray(acquire(template, a, (), plain(), STILL, (0,)).image.dataobj) > 0).sum()
        for a in (big, small)
    ]
    assert sizes[0] / sizes[1] == pytest.approx((1.1 / 0.9) ** 3, rel=0.05)


def test_head_points_follow_the_affine_and_the_pose() -> None:
    affine = nibabel.affines.from_matvec(np.diag([2.0, 3.0, 5.0]), [7.0, -11.0, 13.0])
    pose = Pose((4.0, -7.0, 9.0), (1.0, 2.0, -3.0))
    points = head_points((3, 4, 5), affine, pose)
    voxel = np.array([2, 1, 4])
    world = affine[:3, :3] @ voxel + affine[:3, 3]
    # World = rotation times head plus shift, written the other way round.
    assert np.allclose(rotation(pose.rotation_degrees) @ points[:, 2, 1, 4] + pose.shift_mm, world, atol=1e-4)


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR", "ASL", "LIP"])
def test_storage_keeps_every_voxel_in_its_place(orientation: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.standard_normal((5, 7, 3)).astype(np.float32)
    affine = nibabel.affines.from_matvec(rotation((5.0, 0.0, 0.0)) * (1.2, 0.94, 2.0), [3.0, 4.0, 5.0])
    image = store(array, affine, plain(orientation=orientation), "float32")
    back = nibabel.as_closest_canonical(image)
    assert "".join(nibabel.aff2axcodes(image.affine)) == orientation
    assert np.array_equal(np.asarray(back.dataobj), array)
    assert np.allclose(back.affine, affine)
    assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)


def test_packaged_file_of_an_unknown_kind_is_a_plain_sentence() -> None:
    from cache_schema.common.errors import SlicecacheError

    with pytest.raises(SlicecacheError, match="nilearn"):
        packaged_file("dance")


def textured_pair(template: Template, spacing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A noiseless scan without and with one textured lesion, and its mask."""
    from extract.simulate.lesion import Lesion, draw_texture

    lesion = Lesion((70.0, 110.0, 90.0), 14.0, ((0.0, 0.0, 0.0),) * 3, (0.0, 0.0, 0.0), 0.55)
    anatomy = Anatomy((0,), (1.0, 1.0, 1.0), shape_mm=0.0)
    healthy = acquire(template, anatomy, (), plain(spacing), STILL, (0,))
    sick = acquire(template, anatomy, (lesion,), plain(spacing), STILL, (0,), draw_texture((1, 2)))
    assert sick.lesions is not None
    return tuple(np.asarray(image.dataobj) for image in (healthy.image, sick.image, sick.lesions))  # type: ignore[return-value]


def area_above(ours: np.ndarray, others: np.ndarray) -> float:
    """Probability that one of ours is above one of the others."""
    return float(np.mean(np.searchsorted(np.sort(others), ours) / len(others)))


@pytest.mark.parametrize("spacing", [1.5, 2.0, 2.5])
def test_texture_keeps_the_mean_and_adds_grain(template: Template, spacing: float) -> None:
    healthy, sick, mask = textured_pair(template, spacing)
    inside = mask > 0
    assert sick[inside].mean() == pytest.approx(healthy[inside].mean(), rel=0.01)
    assert sick.sum() == pytest.approx(healthy.sum(), rel=1e-6)
    core = ndimage.binary_erosion(inside)
    steps = [np.abs(np.diff(scan, axis=0))[core[1:]].mean() for scan in (healthy, sick)]
    assert steps[1] > 1.3 * steps[0]
    far = np.abs(sick - healthy) > 1e-6
    assert far.sum() < 1.6 * inside.sum()  # nothing changes beyond the rim
    assert sick.min() >= 0
    # Intensity tells lesion from brain no better than it told the tissue that was there.
    brain = healthy > 0
    for values in (lambda scan: scan, lambda scan: np.abs(scan - healthy[brain].mean())):
        before, after = (
            area_above(values(scan)[inside], values(scan)[brain & ~inside]) for scan in (healthy, sick)
        )
        assert abs(after - 0.5) < max(abs(before - 0.5), 0.2) + 0.02
    assert sick[inside].max() < 1.2 * healthy.max()


def test_texture_is_the_same_in_every_voxel_size() -> None:
    from extract.simulate.lesion import draw_texture

    points = np.random.default_rng(0).uniform(0, 100, (3, 20_000)).astype(np.float32)
    texture = draw_texture((4, 5))
    values = texture.at(points)
    assert np.allclose(draw_texture((4, 5)).at(points[:, :7]), values[:7], atol=1e-4)
    assert abs(values.mean()) < 0.05
    assert values.std() == pytest.approx(1, abs=0.1)
