"""A SLURM of one node on this machine, for tests: munged, slurmctld and slurmd as our own processes.

Its configuration, key, sockets and states are in one folder; it listens on ports of its own, so that it
disturbs no other SLURM. Run as a program it stays until it is interrupted: ``slurm_cluster.py FOLDER``.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Cluster", "missing_programs"]

#: Debian has the daemons where the PATH of a user does not lead.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/sbin"

_CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=1,bf_interval=2,bf_resolution=5
PreemptType=preempt/none
JobRequeue=1
EnforcePartLimits=ALL
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout={node_timeout}
InactiveLimit=0
MinJobAge=300
KillWait=2
CompleteWait=0
UnkillableStepTimeout=30
MaxArraySize={max_array}
FirstJobId={first_job}
NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 CPUs=6 RealMemory=64000 State=UNKNOWN
PartitionName=tiny Nodes={node} Default=YES MaxTime=120 State=UP
PartitionName=closed Nodes={node} MaxTime=120 State=INACTIVE
PartitionName=short Nodes={node} MaxTime=1 State=UP
"""


def missing_programs() -> list[str]:
    """The programs of SLURM and munge that are not on this machine."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
    return [name for name in programs if shutil.which(name, path=_PATH) is None]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Cluster:
    """One node's SLURM.

    Attributes
    ----------
    folder : Path
        Where everything of it is; a short path, because sockets have names of at most 107 characters.
    node_timeout : int
        Seconds after which a node that is silent is down.
    """

    folder: Path
    node_timeout: int = 20
    max_array: int = 1001
    node: str = "node1"
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables with which SLURM's commands talk to this one."""
        others = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "PMI"))}
        return {**others, "PATH": _PATH, "SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self) -> None:
        """Start all three daemons and wait until the node takes jobs."""
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        host = socket.gethostname().split(".")[0]
        text = _CONFIGURATION.format(
            folder=self.folder,
            host=host,
            node=self.node,
            user=pwd.getpwuid(os.getuid()).pw_name,
            controller_port=_free_port(),
            node_port=_free_port(),
            node_timeout=self.node_timeout,
            max_array=self.max_array,
            # An MPI names its shared memory by the job's number: not as the last SLURM that ran here.
            first_job=1000 * random.randrange(1, 60_000),
        )
        (self.folder / "slurm.conf").write_text(text)
        # Without accounting of resources nothing is to be read from control groups.
        (self.folder / "cgroup.conf").write_text("CgroupAutomount=no\n")
        names = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        files = [f"--{option}={self.folder / f'munge.{end}'}" for option, end in names.items()]
        self._spawn("munged", "--foreground", "--force", f"--key-file={key}", *files)
        self._wait("munge", lambda: (self.folder / "munge.socket").exists())
        self._spawn("slurmctld", "-D", "-i")
        self._wait("slurmctld", lambda: self.command("scontrol", "ping", check=False).returncode == 0)
        self.start_node()

    def start_node(self) -> None:
        """Start the node's daemon and wait until it takes jobs."""
        self._spawn("slurmd", "-D", "-N", self.node)
        self._wait("slurmd", lambda: self.node_state() in ("idle", "mixed", "allocated"))

    def stop_node(self, hard: bool = True) -> None:
        """End the node's daemon, as when the node fails; its jobs' processes stay."""
        process = self.processes.pop("slurmd")
        process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
        process.wait(20)

    def stop(self) -> None:
        """Cancel all jobs and end the daemons."""
        if "slurmctld" in self.processes:
            self.command("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name, check=False)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline and self.command("squeue", "-h", check=False).stdout.strip():
                time.sleep(0.3)
        for name in ("slurmd", "slurmctld", "munged"):
            process = self.processes.pop(name, None)
            if process is not None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)

    def command(
        self, *words: str, check: bool = True, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of SLURM, or any other that is to talk to this one."""
        return subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=check, timeout=timeout
        )

    def node_state(self) -> str:
        """As `sinfo` says it, without its footnote marks."""
        found = self.command("sinfo", "-h", "-p", "tiny", "-o", "%T", check=False).stdout.split()
        return found[0].rstrip("*~#!%$@^-") + ("*" if found[0].endswith("*") else "") if found else ""

    def logs(self) -> str:
        """The last lines of the daemons' logs."""
        found = []
        for name in ("munge.log", "slurmctld.log", "slurmd.log"):
            path = self.folder / name
            if path.exists():
                found.append(f"--- {name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-25:]))
        return "\n".join(found)

    def _spawn(self, program: str, *options: str) -> None:
        where = shutil.which(program, path=_PATH)
        assert where is not None
        with open(self.folder / f"{program}.out", "ab") as output:
            self.processes[program] = subprocess.Popen(
                [where, *options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _wait(self, what: str, ready) -> None:
        deadline = time.monotonic() + 40
        while not ready():
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                logs = self.logs()
                out = "".join(p.read_text(errors="replace") for p in self.folder.glob("*.out"))
                self.stop()
                raise RuntimeError(f"{what} does not start ({dead or 'time is over'})\n{logs}\n{out}")
            time.sleep(0.1)


if __name__ == "__main__":
    cluster = Cluster(Path(sys.argv[1]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster.start()
    print(f"export SLURM_CONF={cluster.folder / 'slurm.conf'}", flush=True)
    try:
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        cluster.stop()
