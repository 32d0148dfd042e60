"""Workers as pods: dask-kubernetes's operator. Its description is tested, and nothing has run under it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cache_schema.cluster.settings import DaskSettings, WorkerHost
from cache_schema.common.errors import ConfigError


@contextmanager
def kubernetes_cluster(settings: DaskSettings, pod: WorkerHost) -> Iterator[Any]:
    """A cluster whose workers are pods, as many as there is work for.

    Raises:
        ConfigError: If there is no image, or dask-kubernetes is not installed.
    """
    spec = pod_description(settings, pod)
    from dask_kubernetes.operator import KubeCluster

    with KubeCluster(custom_cluster_spec=spec, namespace=settings.namespace, quiet=True) as cluster:
        cluster.adapt(minimum=settings.minimum_jobs, maximum=settings.maximum_jobs)
        yield cluster


def pod_description(settings: DaskSettings, pod: WorkerHost) -> dict[str, Any]:
    """The `DaskCluster` that the operator is asked for.

    Raises:
        ConfigError: If there is no image, or dask-kubernetes is not installed.
    """
    if settings.image is None:
        raise ConfigError("dask.cluster is 'kubernetes', which needs dask.image: one with slicecache in it")
    try:
        from dask_kubernetes.operator import make_cluster_spec
    except ModuleNotFoundError as error:
        raise ConfigError(
            "dask.cluster is 'kubernetes', which needs a package of its own: pip install dask-kubernetes"
        ) from error
    amounts = {"cpu": str(pod.cores), "memory": f"{pod.gib}Gi"}
    if pod.gpus:
        amounts["nvidia.com/gpu"] = str(pod.gpus)
    spec: dict[str, Any] = make_cluster_spec(
        name="slicecache",
        image=settings.image,
        n_workers=settings.minimum_jobs,
    )
    worker = spec["spec"]["worker"]["spec"]
    container = worker["containers"][0]
    container["resources"] = {"requests": amounts, "limits": amounts}
    threads = pod.threads(pod.workers)
    container["args"] += [f"--nworkers={pod.workers}", f"--nthreads={threads}", "--no-dashboard"]
    container["volumeMounts"] = [{"name": name, "mountPath": path} for name, path in settings.claims.items()]
    worker["volumes"] = [
        {"name": name, "persistentVolumeClaim": {"claimName": name}} for name in settings.claims
    ]
    return spec
