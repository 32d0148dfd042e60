"""A real Slurm on this machine: a controller and some nodes of their own, with a pretend GPU each.

Debian's packages are installed where that can be done (by root, with apt-get). Everything lives in a folder
of its own, with its own ports and its own munge, beside whatever Slurm the machine belongs to; only
processes that were started here are stopped, by their number.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
START_SECONDS = 40.0
CONFIGURATION = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
MinJobAge=3600
KillWait=2
SlurmdTimeout=6
SlurmctldTimeout=10
InactiveLimit=0
ReturnToService=2
GresTypes=gpu
NodeName=DEFAULT CPUs=2 RealMemory=8000 Gres=gpu:1
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}]
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500 State=UP
"""


@cache
def missing() -> str:
    """Why there can be no Slurm here; empty where there can. Packages are installed on the way."""
    if os.name != "posix" or os.geteuid() != 0:
        return "a Slurm of its own needs root"
    if all(map(program, PROGRAMS)):
        return ""
    if shutil.which("apt-get") is None:
        return "Slurm is not installed, and there is no apt-get"
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10"]
    install = [*apt, "install", "-y", "--no-install-recommends", *PACKAGES]
    for command in (install, [*apt, "update"], install):
        try:
            done = subprocess.run(command, env=quiet, capture_output=True, timeout=180)
        except subprocess.TimeoutExpired:
            break
        if command is install and done.returncode == 0 and all(map(program, PROGRAMS)):
            return ""
    return f"apt-get cannot install {' '.join(PACKAGES)}"


def program(name: str) -> str | None:
    """Where a program is, daemons included."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    for first in range(21000, 30000, count):
        probes = [socket.socket() for _ in range(count)]
        try:
            for place, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + place))
        except OSError:
            continue
        else:
            return first
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no free ports")


@dataclass
class SlurmCluster:
    """Nodes `n1`, `n2`, ... of two cores and a pretend GPU."""

    folder: Path
    nodes: int = 3
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs to know."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start munge, controller and nodes, and wait until all nodes are idle."""
        munge = self.folder / "munge"
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        first = free_ports(self.nodes + 1)
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                folder=self.folder,
                control=first,
                nodes=self.nodes,
                first=first + 1,
                last=first + self.nodes,
            )
        )
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        files = {"socket": "socket", "key-file": "key", "pid-file": "pid", "log-file": "log"}
        options = [f"--{name}={munge / file}" for name, file in (*files.items(), ("seed-file", "seed"))]
        self.launch("munged", "munged", "-F", "--force", *options)
        wait_for(lambda: (munge / "socket").exists(), "munge")
        self.launch("slurmctld", "slurmctld", "-D")
        for node in range(1, self.nodes + 1):
            self.start_node(f"n{node}")
        wait_for(lambda: self.ask("sinfo", "-h", "-t", "idle", "-o", "%D") == str(self.nodes), "Slurm")

    def launch(self, name: str, *command: str) -> None:
        """Start a daemon, with its words in a file."""
        path = program(command[0])
        assert path is not None
        with (self.folder / f"{name}.out").open("ab") as said:
            self.running[name] = subprocess.Popen(
                [path, *command[1:]],
                env=os.environ | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def start_node(self, name: str) -> None:
        """Start a node, or start it again."""
        self.launch(name, "slurmd", "-D", "-N", name)

    def kill(self, name: str) -> None:
        """Take a daemon away; what a node had started goes on, as on one that the network has lost."""
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def ask(self, *command: str) -> str:
        """What a Slurm command says."""
        done = subprocess.run(
            command, env=os.environ | self.environment, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def stop(self) -> None:
        """Cancel what is there, and stop exactly what was started."""
        if "slurmctld" in self.running:
            self.ask("scancel", "--signal=KILL", "--full", "--user=root")
            self.ask("scancel", "--user=root")
            with_patience(lambda: not self.ask("squeue", "-h", "-t", "running,completing"), 15)
        for name in reversed(list(self.running)):
            process = self.running.pop(name)
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(true: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: If it does not in time.
    """
    if not with_patience(true, seconds):
        raise TimeoutError(f"{what}: not in {seconds:g} s")


def with_patience(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something holds in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def slurm_cluster(nodes: int = 3) -> Iterator[SlurmCluster]:
    """A Slurm that runs until the block ends, in a folder with a short name that its daemons may enter."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    folder.chmod(0o755)
    cluster = SlurmCluster(folder, nodes)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
