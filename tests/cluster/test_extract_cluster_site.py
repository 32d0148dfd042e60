"""The site file: strict, found in one order, and harmless to the scripts that it is written into."""

from pathlib import Path

import pytest
import yaml

from cache_schema.cluster import site as site_module
from cache_schema.cluster.site import VARIABLE, Site, find_site
from cache_schema.common.errors import ConfigError


@pytest.fixture(autouse=True)
def nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(site_module, "USUAL", tmp_path / "usual.yaml")


def write(path: Path, **keys: object) -> Path:
    path.write_text(yaml.safe_dump(keys))
    return path


def test_named_then_environment_then_usual_then_defaults(tmp_path, monkeypatch):
    assert find_site(None).site == Site()
    assert find_site(None).path is None
    write(tmp_path / "usual.yaml", partition="usual")
    assert find_site(None).site.partition == "usual"
    monkeypatch.setenv(VARIABLE, str(write(tmp_path / "environment.yaml", partition="environment")))
    assert find_site(None).site.partition == "environment"
    assert find_site(write(tmp_path / "named.yaml", partition="named")).site.partition == "named"


def test_an_empty_file_says_nothing(tmp_path):
    (tmp_path / "empty.yaml").write_text("# partition: gpu\n")
    assert find_site(tmp_path / "empty.yaml").site == Site()


def test_a_file_that_is_named_and_is_not_there_is_a_mistake(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"site file .*absent\.yaml"):
        find_site(tmp_path / "absent.yaml")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone.yaml"))
    with pytest.raises(ConfigError, match=rf"{VARIABLE} names .*gone\.yaml"):
        find_site(None)


def test_an_unknown_key_names_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown key .*partion; did you mean 'partition'"):
        find_site(write(tmp_path / "site.yaml", partion="gpu"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("partition", "gpu --wrap=x"),
        ("partition", "gpu\n#SBATCH --uid=0"),
        ("account", "$(id)"),
        ("gpu", "gres=gpu:1"),
        ("gpu", "--gres=gpu:1 # x"),
        ("directives", ["--wrap=a b"]),
        ("directives", ["--comment=x\n"]),
        ("memory", "lots"),
        ("time", "soon"),
        ("throttle", 0),
        ("setup", ["export A=1\nrm -rf /"]),
        ("environment", {"A B": "1"}),
        ("environment", {"A": "1\n2"}),
        ("stage", "$(reboot)"),
        ("stage", '/tmp"; reboot; "'),
        ("stage", "`reboot`"),
    ],
)
def test_what_no_directive_or_line_can_hold_is_refused(tmp_path, key, value):
    with pytest.raises(ConfigError, match=rf"the site file\.{key}"):
        find_site(write(tmp_path / "site.yaml", **{key: value}))


def test_an_image_lies_beside_the_file_that_names_it(tmp_path):
    assert find_site(write(tmp_path / "site.yaml", container="sif/a.sif")).image == tmp_path / "sif" / "a.sif"
    assert find_site(write(tmp_path / "site.yaml", container="/opt/a.sif")).image == Path("/opt/a.sif")
