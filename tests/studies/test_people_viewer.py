"""The viewer: one file that loads nothing, or one sentence where its program is not installed."""

import base64
import gzip
import importlib.metadata
import json
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from made_up_store import example_draft, example_key

from aggregate.common import niivue
from aggregate.common.niivue import viewer_source
from aggregate.common.telling import read_people
from aggregate.report.people.showing import VolumePictures
from aggregate.report.people.viewer import layers_of, write_viewer
from cache_schema.common.errors import ConfigError
from cache_schema.format.record import VolumeRecord

MODULE = "/* </script> <!-- " + "long " * 250_000 + "*/export{NVImage,Niivue};"


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, widget: str) -> None:
    """A package of that name, as pip leaves it."""
    info = folder / "ipyniivue-2.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ipyniivue\nVersion: 2.9\n")
    (info / "LICENSE").write_text("BSD <2> Clause")
    (folder / niivue.WIDGET).parent.mkdir(parents=True)
    (folder / niivue.WIDGET).write_text(widget)
    names = [niivue.WIDGET, f"{info.name}/METADATA", f"{info.name}/LICENSE"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    found = importlib.metadata.PathDistribution(info)
    monkeypatch.setattr(niivue, "distribution", lambda name: found)


def test_the_file_holds_image_map_and_mask_and_loads_nothing(tmp_path, monkeypatch):
    installed(tmp_path / "site", monkeypatch, f'var a="b",c="{quote(MODULE, safe="!*()~")}",d=1;')
    draft = example_draft(example_key(1), 5)
    record = VolumeRecord(**draft.model_dump(), row=0, tokens={}, digest="0" * 64)
    shape = record.geometry.native_shape
    image = np.linspace(0, 900, np.prod(shape)).reshape(shape)
    heat = np.zeros(shape, dtype=np.float32)
    heat[3:9, 4:8, 3] = 7.0
    pictures = VolumePictures(record, image, "", None, heat > 5)
    layers = layers_of(pictures, heat, 2.0, 8.0, "map of it")
    said = ("</script><b>x", "scores", "in units")
    write_viewer(tmp_path / "v.html", record, layers, *said, "p.html")
    text = (tmp_path / "v.html").read_text()
    write_viewer(tmp_path / "w.html", record, layers, *said, "p.html")
    assert (tmp_path / "w.html").read_text() == text
    assert text.count("</script") == 2  # the two elements' own ends
    assert "<b>x" not in text
    assert "BSD &lt;2&gt; Clause" in text
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)
    (line,) = re.findall(r"^const layers = (.*);$", text, flags=re.MULTILINE)
    volumes = json.loads(line)
    assert [one["name"] for one in volumes] == ["image.nii.gz", "map-of-it.nii.gz", "lesion-mask.nii.gz"]
    map_ = gzip.decompress(base64.b64decode(volumes[1]["base64"]))[352:]
    steps = np.frombuffer(map_, dtype=np.uint8).reshape(shape, order="F")
    np.testing.assert_array_equal(steps > 0, heat > 2)
    assert volumes[1]["cal_max"] == pytest.approx(8)
    assert layers_of(VolumePictures(record, None, "gone", None), heat, 2.0, 8.0, "map") == []


@pytest.mark.parametrize("widget", ["", 'x="short";', f'x="{"a" * 1_100_000}";'])
def test_another_version_of_the_package_is_one_sentence(tmp_path, monkeypatch, widget):
    installed(tmp_path / "site", monkeypatch, widget)
    with pytest.raises(ConfigError, match=r"version 2\.9 does not hold it as 2\.4\.4 does"):
        read_people(None, True)


def test_without_the_package_it_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(niivue, "distribution", absent)
    with pytest.raises(ConfigError, match=r"pip install 'slicecache\[viewer\]'"):
        read_people(None, True)
    assert read_people("3", False).pages == 3


def test_the_package_itself_holds_niivue_and_its_licence():
    try:
        importlib.metadata.distribution("ipyniivue")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("ipyniivue is not installed (slicecache[viewer])")
    source = viewer_source()
    assert len(source.module) > 1_000_000
    assert "BSD 2-Clause" in source.licence
    assert "</script" not in source.module.lower()
