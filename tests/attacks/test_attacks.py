"""Every attack is refused, named or harmless, as it says, and nothing outside is touched or read."""

from pathlib import Path

import pytest

from attacks.scene import Attack, Scene, all_attacks, faults_of

EVERY = [attack for attacks in all_attacks().values() for attack in attacks]


def test_no_attack_stands_twice():
    names = [str(attack) for attack in EVERY]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("attack", EVERY, ids=str)
def test_attack(attack: Attack, tmp_path: Path):
    assert faults_of(attack, Scene.below(tmp_path)) == []
