"""An eval on a cluster, as a script: ``python eval_on_a_cluster.py slurm --workers 8``. Run again, it goes on.

It needs ``jupyter-agentlab[cluster]`` here and on the workers, of the same version; ``slurm`` needs dask-jobqueue too,
``kubernetes`` dask-kubernetes and its operator. ``local`` tries it on this machine.
"""

import argparse

from agentlab import Assistant, tool
from agentlab.evals import evaluate, includes


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


class Clerk(Assistant):
    model = "sim-calculator"  # each worker asks a simulator of its own; a provider's key is read from its environment
    tools = [add]


def local(options):
    from distributed import LocalCluster

    return LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address="127.0.0.1:0")


def slurm(options):
    """One job is one worker; TLS, with certificates that only this user can read, in a folder that all hosts see."""
    from dask_jobqueue import SLURMCluster

    cluster = SLURMCluster(
        cores=4,
        processes=1,
        memory="16GB",
        walltime="04:00:00",
        worker_extra_args=["--lifetime", "225m", "--lifetime-stagger", "10m"],
        security=True,
        shared_temp_directory=".",
    )
    cluster.scale(jobs=options.workers)
    return cluster


def kubernetes(options):
    """Pods of an image that has what is here: ``pip install jupyter-agentlab[cluster]`` on the same Python."""
    from dask_kubernetes.operator import KubeCluster

    return KubeCluster(
        name="agentlab-eval",
        image=options.image,
        n_workers=options.workers,
        resources={"requests": {"cpu": "4", "memory": "8Gi"}, "limits": {"memory": "16Gi"}},
    )


def ssh(options):
    """The first host has the scheduler; each is reached by ``ssh`` without a password, and has the same environment."""
    from distributed import SSHCluster

    return SSHCluster([options.hosts[0], *options.hosts], worker_options={"nthreads": 4})


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("where", choices=["local", "slurm", "kubernetes", "ssh"])
    asked.add_argument("--workers", type=int, default=2)
    asked.add_argument("--hosts", nargs="+", default=["localhost"], help="for ssh")
    asked.add_argument("--image", default="registry.example.org/agentlab:0.1", help="for kubernetes")
    asked.add_argument("--insecure", action="store_true", help="the network is trusted, though lines are in the clear")
    asked.add_argument("--path", default="runs/arithmetic.lab")
    given = asked.parse_args()
    samples = [{"input": f"What is {n} + {n} + 1?", "target": f"= {2 * n + 1}"} for n in range(200)]
    with {"local": local, "slurm": slurm, "kubernetes": kubernetes, "ssh": ssh}[given.where](given) as cluster:
        run = evaluate(
            Clerk, samples, includes(), concurrency=16, path=given.path, cluster=cluster, insecure=given.insecure
        )
    print(run)
    print(run.summary()[["metric", "n", "mean", "ci_low", "ci_high"]].to_string(index=False))
