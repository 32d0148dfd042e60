"""Nothing was done: the scene itself is sound, so that what the attacks find is theirs."""

from attacks.scene import Attack, Scene


def _store(name: str):
    def arrange(scene: Scene) -> list[str]:
        return [str(scene.archived(name))]

    return arrange


def _extracted(scene: Scene) -> list[str]:
    return ["--full", str(scene.extracted())]


ATTACKS = [
    Attack("nothing, unpacked and sealed", "cache verify", _store("sealed.zarr"), "all right", 0),
    Attack("nothing, packed", "cache verify", _store("packed.zarr"), "all right", 0),
    Attack("nothing, just extracted", "cache verify", _extracted, "all right", 0),
    Attack("nothing, a zip", "cache inspect", _store("store.zip"), "fingerprint", 0),
    Attack("nothing, an .h5", "cache inspect", _store("store.h5"), "fingerprint", 0),
]
