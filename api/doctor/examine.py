"""All checks, in an order in which one may explain the next."""

from __future__ import annotations

from pathlib import Path

from api.doctor.backends import LogFacts, check_log, check_state, check_store
from api.doctor.findings import Finding, Report, attempt
from api.doctor.host import check_data_dir, check_kernels, check_sets, check_settings
from api.doctor.running import check_running
from api.settings import Settings
from streams.inspection import StoreFacts

__all__ = ["examine"]


def examine(settings: Settings, file: Path | None = None, *, thorough: bool = False) -> Report:
    """Look at everything a service with these settings would work with.

    Parameters
    ----------
    file
        The settings' file, when one was given.
    thorough
        Read an embedded log through whatever its size.
    """
    correct = "correct the settings"
    findings = attempt("settings", lambda: check_settings(settings, file), correct)
    findings += check_data_dir(settings)
    findings += attempt("kernels", lambda: check_kernels(settings), correct)
    sets = "write the set, or name a version that is there"
    findings += attempt("vectors", lambda: check_sets(settings), sets)
    log = LogFacts()
    looked = attempt(
        "log",
        lambda: check_log(settings, log, thorough=thorough),
        "start the brokers, open the way to them, or correct the settings",
    )
    findings += looked
    stores: list[StoreFacts | None] = []

    def look_at_store() -> list[Finding]:
        store, found = check_store(settings)
        stores.append(store)
        return found

    todo = "start the database, open the way to it, or correct the settings"
    findings += attempt("database", look_at_store, todo)
    if stores and not any(each.status == "problem" for each in looked if each.check == "log"):
        findings += check_state(stores[0], log)
    findings += check_running(settings)
    return Report.of(findings)
