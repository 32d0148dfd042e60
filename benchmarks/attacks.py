"""Every attack and fault that is kept as a test, tried once more and counted: the table of docs/trust.md.

python benchmarks/attacks.py
"""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from attacks.scene import Scene, all_attacks, faults_of


def main() -> None:
    print("| room | tried | refused with one sentence | named, exit 1 | harmless | wrong, or a traceback |")
    print("|---|---|---|---|---|---|")
    total = [0] * 5
    for room, attacks in all_attacks().items():
        counts = [len(attacks), 0, 0, 0, 0]
        for attack in attacks:
            with tempfile.TemporaryDirectory() as folder:
                faults = faults_of(attack, Scene.below(Path(folder)))
            place = 4 if faults else 1 + ("refused", "named", "harmless").index(attack.outcome)
            counts[place] += 1
            for fault in faults:
                print(f"{attack}: {fault}", file=sys.stderr)
        total = [a + b for a, b in zip(total, counts, strict=True)]
        print(f"| {room.replace('_', ' ')} | {' | '.join(map(str, counts))} |", flush=True)
    print(f"| all | {' | '.join(map(str, total))} |")


if __name__ == "__main__":
    main()
