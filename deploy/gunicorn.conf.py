"""How gunicorn serves the skill: gunicorn -c deploy/gunicorn.conf.py 'app:create_app()'.

The model is loaded once, in the master, and the workers are forked from it, so that they share its
memory. No second thread may run in the master before the fork: OpenMP's threads would be missing in
the workers, which would wait for them for ever. So torch gets one thread in the master, and its
share of the cores in each worker.

From the environment: BIND (127.0.0.1:5000), WEB_CONCURRENCY (the number of workers), THREADS (per
worker), and whatever app.py reads.
"""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
METRICS = "voice-skill-metrics-"  # prefix of the name of the workers' shared metrics folder
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
try:  # a container's share of the cores, which the kernel enforces but does not show
    quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
    CORES = max(1, min(CORES, int(quota) // int(period)))
except (OSError, ValueError):  # no cgroup v2, or "max"
    pass

sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:  # a reload of this file keeps the folder
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix=METRICS)

from skill import logs  # noqa: E402

chdir = str(ROOT)
bind = os.environ.get("BIND", "127.0.0.1:5000")
workers = int(os.environ.get("WEB_CONCURRENCY") or 1)
worker_class = "gthread"
threads = int(os.environ.get("THREADS") or 80)  # more than may wait in dialogue/batching.py
worker_connections = 1000
preload_app = True
graceful_timeout = 15  # seconds; a reply takes 6.5 at most
keepalive = 75  # seconds, longer than nginx keeps an idle connection
limit_request_line = 2048
limit_request_field_size = 8190
limit_request_fields = 50
control_socket_disable = True
logconfig_dict = logs.configuration(os.environ.get("LOG_FORMAT") or "json")
if Path("/dev/shm").is_dir():  # a worker's heartbeat must not wait for a disk
    worker_tmp_dir = "/dev/shm"


def when_ready(server):
    """Hide what is loaded from the garbage collector, which would write to shared pages."""
    gc.collect()
    gc.freeze()


def on_reload(server):
    """Load whatever model there is now, before the workers are replaced."""
    gc.unfreeze()
    server.app.wsgi().extensions["reloader"].reload()
    when_ready(server)


def post_fork(server, worker):
    """Set how many threads a worker decodes with: its share of the cores."""
    import torch

    torch.set_num_threads(max(1, CORES // server.cfg.workers))


def child_exit(server, worker):
    """Remove an ended worker's gauges from the metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server):
    """Remove the folder of the metrics."""
    folder = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])
    if folder.name.startswith(METRICS):
        shutil.rmtree(folder, ignore_errors=True)
