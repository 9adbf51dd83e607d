"""Java and the Kafka broker's own jars, fetched once by Maven into the checkout's cache."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.servers.processes import UnavailableError

POM = Path(__file__).with_name("pom.xml")
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "kafka"
OLDEST_JAVA = 17
FETCH_SECONDS = 600


def java() -> str:
    """Path of a Java recent enough for the broker.

    Raises
    ------
    UnavailableError
        There is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    wanted = f"Kafka needs Java {OLDEST_JAVA} or later: install openjdk-17-jre-headless or newer"
    if found is None:
        raise UnavailableError(f"no java in {'JAVA_HOME' if home else 'PATH'}; {wanted}")
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version[1]) < OLDEST_JAVA:
        raise UnavailableError(f"{found} says {told.splitlines()[:1]}; {wanted}")
    return found


def broker_jars() -> Path:
    """Folder of the jars that `pom.xml` names; a second call with the same file fetches nothing.

    Raises
    ------
    UnavailableError
        They are not fetched yet and Maven is missing or fails.
    """
    folder = CACHE / f"libs-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # workers of one test run fetch once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("no mvn in PATH; Kafka's jars are fetched by Maven: install maven")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
        done = subprocess.run(
            [maven, "-B", "-q", "-f", POM, *goal, f"-DoutputDirectory={scratch}/libs"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
        )
        if done.returncode:
            raise UnavailableError(f"Maven could not fetch Kafka's jars: {done.stdout[-2000:]}")
        Path(scratch, "libs").rename(folder)
