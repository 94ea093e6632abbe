"""Numbers of jobs that the launchers of a sweep run at once."""

from typing import Literal

from omegaconf import DictConfig


def jobs_at_once(launcher: DictConfig, jobs: int) -> int:
    """Return how many jobs a launcher runs at once on this machine.

    Args:
        launcher: ``hydra.launcher``.
        jobs: number of jobs.
    """
    target = str(launcher.get("_target_", "")).lower()
    if "joblib" in target:
        from joblib import effective_n_jobs

        return max(1, min(jobs, int(effective_n_jobs(launcher.get("n_jobs")))))
    return jobs if "submitit" in target and target.endswith("locallauncher") else 1


def search_jobs_at_once(launcher: DictConfig, given: Literal["auto"] | int, jobs: int) -> int:
    """Return how many jobs of a search are drawn, and then launched, at once.

    Args:
        launcher: ``hydra.launcher``.
        given: ``hydra.sweeper.n_jobs``; "auto" for as many as the launcher runs at once on this machine, one for each
            core at most, since each job is drawn by what those before it have reached.
        jobs: number of jobs of the search.
    """
    if given != "auto":
        return min(given, jobs)
    from segtrain.runtime import usable_cores

    return jobs_at_once(launcher, min(jobs, usable_cores()))
