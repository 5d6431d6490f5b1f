"""Slurm's commands, as far as the provider uses them: a folder of jobs, each a real process.

Installed as `sbatch`, `squeue`, `scancel` and `srun` by `install`. Options that the real commands would refuse are
refused; formats are those of Slurm 23. The folder's file `weather` has JSON: {"most": jobs that are accepted,
"down": slurmctld does not answer, "pending": jobs stay pending, "denied": jobs cannot be cancelled}.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("FAKE_SLURM", "."))
REMEMBERED = 300.0
"""Slurm's MinJobAge."""

_SBATCH = {"parsable", "job-name", "comment", "no-requeue", "nodes", "ntasks", "cpus-per-task", "gres", "mem",
           "output", "partition", "account", "time", "qos", "constraint"}  # fmt: skip
_CODES = {"PENDING": "PD", "RUNNING": "R", "FAILED": "F", "CANCELLED": "CA", "COMPLETED": "CD", "TIMEOUT": "TO"}


def install(folder):
    """Put the commands into a folder for PATH."""
    for name in ("sbatch", "squeue", "scancel", "srun"):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -S {__file__} {name} "$@"\n')
        path.chmod(0o755)


def weather():
    path = FOLDER / "weather"
    return json.loads(path.read_text()) if path.exists() else {}


def fail(command, text):
    sys.stderr.write(f"{command}: error: {text}\n")
    sys.exit(1)


def options_of(command, arguments, known):
    options, words = {}, []
    for i, word in enumerate(arguments):
        if not word.startswith("--"):
            words = arguments[i:]
            break
        name, _, value = word[2:].partition("=")
        if name not in known:
            fail(command, f"unrecognized option '--{name}'")
        options[name] = value
    return options, words


def jobs():
    found = []
    for path in sorted((FOLDER / "jobs").glob("*.json"), key=lambda path: int(path.stem)):
        job = json.loads(path.read_text())
        if job["state"] == "RUNNING" and not alive(job):
            ended = Path(f"{path}.exit")
            job["state"] = "COMPLETED" if ended.exists() and ended.read_text().strip() == "0" else "FAILED"
            job["ended"] = time.time()
            save(job)
        if not job.get("ended") or time.time() - job["ended"] < REMEMBERED:
            found.append(job)
    return found


def alive(job):
    try:
        return "Z" not in Path(f"/proc/{job['pid']}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def save(job):
    path = FOLDER / "jobs" / f"{job['id']}.json"
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(job))
    new.replace(path)


def sbatch(arguments):
    options, _ = options_of("sbatch", arguments, _SBATCH)
    script = sys.stdin.read()
    if not script.startswith("#!"):
        fail("sbatch", "This does not look like a batch script.")
    most = weather().get("most")
    if most is not None and sum(job["state"] in {"PENDING", "RUNNING"} for job in jobs()) >= most:
        fail("sbatch", "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, quota)")
    (FOLDER / "jobs").mkdir(exist_ok=True)
    number = 1 + len(list((FOLDER / "jobs").glob("*.json")))
    job = {"id": number, "name": options["job-name"], "comment": options.get("comment", "(null)"), "options": options}
    pending = bool(weather().get("pending"))
    job |= {"state": "PENDING" if pending else "RUNNING", "reason": "(Resources)" if pending else "None", "pid": 0}
    if not pending:
        path = FOLDER / "jobs" / f"{number}.sh"
        path.touch(mode=0o600)
        path.write_text(script)
        run = f'sh "{path}" & echo $! >"{path}.pid"; wait $!; echo $? >"{FOLDER / "jobs"}/{number}.json.exit"'
        with Path(options["output"]).open("wb") as log:
            job["pid"] = subprocess.Popen(
                ["sh", "-c", run], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            ).pid
    save(job)
    sys.stdout.write(f"{number}\n")


def squeue(arguments):
    options, _ = options_of("squeue", arguments, {"me", "noheader", "states", "format", "name", "jobs"})
    states = set(options["states"].split(","))
    for job in jobs():
        if _CODES[job["state"]] not in states or ("name" in options and job["name"] != options["name"]):
            continue
        letters = {"i": str(job["id"]), "T": job["state"], "N": "" if job["state"] == "PENDING" else "127.0.0.1",
                   "j": job["name"], "k": job["comment"], "r": job["reason"]}  # fmt: skip
        text = options["format"]
        sys.stdout.write("|".join(letters[field.strip("%")] for field in text.split("|")) + "\n")


def scancel(arguments):
    _, words = options_of("scancel", arguments, {"quiet"})
    if weather().get("denied"):
        fail("scancel", f"Kill job error on job id {words[0]}: Access/permission denied")
    if words[0] not in {str(job["id"]) for job in jobs()}:
        fail("scancel", f"Kill job error on job id {words[0]}: Invalid job id specified")
    for job in jobs():
        if str(job["id"]) in words and job["state"] in {"PENDING", "RUNNING"}:
            if job["pid"]:
                os.killpg(job["pid"], signal.SIGTERM)
            job |= {"state": "CANCELLED", "ended": time.time()}
            save(job)
        elif str(job["id"]) in words:
            fail("scancel", f"Kill job error on job id {job['id']}: Job/step already completing or completed")


def srun(arguments):
    options, words = options_of("srun", arguments, {"jobid", "overlap", "quiet", "pty"})
    if not any(str(job["id"]) == options["jobid"] and job["state"] == "RUNNING" for job in jobs()):
        fail("srun", "Unable to confirm allocation for job: Invalid job id specified")
    os.execvp(words[0], words)


if __name__ == "__main__":
    if weather().get("down"):
        fail(sys.argv[1], "Unable to contact slurm controller (connect failure)")
    lock = os.open(FOLDER / "lock", os.O_CREAT | os.O_RDWR)
    if sys.argv[1] != "srun":
        fcntl.flock(lock, fcntl.LOCK_EX)
    {"sbatch": sbatch, "squeue": squeue, "scancel": scancel, "srun": srun}[sys.argv[1]](sys.argv[2:])
