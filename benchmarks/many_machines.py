"""One process, and workers of Dask and Ray.

``python -m benchmarks.many_machines ways [N_IMAGES] [ROUNDS]``

Seconds for photographs through MobileNet (α 0.75, 224 px, pooled), cold and again from one
cache folder that all share: `transform` in one process that uses all cores, and the recipes of
docs/many_machines.md with a worker for each core; then a search (3 strengths × 5 folds) of
joblib's processes, of Dask and of Ray. They take turns; the figures are medians. Each way has
seen some photographs before, so that workers have the network in memory. Ray starts some of
its workers later all the same.

``python -m benchmarks.many_machines memory`` prints instead the peak memory of a process after
more and more images in `transform_batches`, with and without a cache.

``python -m benchmarks.many_machines files [N_FILES]`` prints what it takes to look up the
features of small files once, and in a search of 4 strengths × 4 folds; and how much of that is
to find out which images they are, where their digests are remembered and where they are not.

Needs the extra ``sktransfer[test-many]``, and photographs as in `benchmarks`.
"""

import functools
import os
import resource
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")

import joblib
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline

from benchmarks._timing import chosen
from benchmarks.extraction import MOBILENET
from sktransfer import PretrainedFeatureTransformer
from sktransfer._images import digests

CORES = len(os.sched_getaffinity(0))
MEMORY_STEPS, MEMORY_BATCH = (25_000, 50_000, 100_000, 200_000), 1000


def transformer(cache_dir):
    return PretrainedFeatureTransformer(**MOBILENET, pooling="avg", cache_dir=cache_dir)


def by_one_process(features, paths):
    return features.transform(paths)


def by_a_bag(features, paths):
    import dask.bag as db

    bag = db.from_sequence(paths, npartitions=4 * CORES)
    return bag.map_partitions(lambda part: features.transform(list(part))).compute()


def by_a_data_frame(features, paths):
    import dask.dataframe as dd
    import pandas as pd

    column = dd.from_pandas(pd.Series(paths), npartitions=4 * CORES)
    return column.map_partitions(features.transform, meta=features.transform([])).compute()


def by_ray(features, paths):
    import ray

    dataset = ray.data.from_items([{"path": path} for path in paths])
    return dataset.map_batches(
        lambda batch: {"features": features.transform(batch["path"])}, batch_size=50
    ).take_all()


def search(features, paths, backend):
    _, labels = chosen(len(paths))
    grid = {"logisticregression__C": [0.001, 0.01, 0.1]}
    pipeline = make_pipeline(features, LogisticRegression(max_iter=1000))
    with joblib.parallel_config(backend, n_jobs=CORES):
        GridSearchCV(pipeline, grid, cv=5).fit(paths, labels)


WAYS = {
    "`transform` in one process": by_one_process,
    "Dask, a bag": by_a_bag,
    "Dask, a data frame": by_a_data_frame,
    "Ray": by_ray,
    "search, joblib's processes": functools.partial(search, backend="loky"),
    "search, Dask": functools.partial(search, backend="dask"),
    "search, Ray": functools.partial(search, backend="ray"),
}


def seconds(way, paths):
    """Of a way with a new cache folder, and again with the same."""
    way(transformer(None), paths[:20])  # workers start, and load the network
    with tempfile.TemporaryDirectory() as folder:
        times = [time.perf_counter()]
        for _ in range(2):
            way(transformer(folder), paths)
            times.append(time.perf_counter())
    return np.diff(times)


def compare(n_images=400, n_rounds=3):
    """Print a row of a table for each way."""
    import ray
    from dask.distributed import Client, LocalCluster
    from ray.util.joblib import register_ray

    paths, _ = chosen(n_images)
    ray.init(num_cpus=CORES, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    register_ray()
    workers = {"n_workers": CORES, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(**workers) as cluster, Client(cluster):
        rounds = [[seconds(way, paths) for way in WAYS.values()] for _ in range(n_rounds)]
    ray.shutdown()
    print("| way | cold, s | images/s | warm, s |\n|---|---|---|---|")
    for name, (cold, warm) in zip(WAYS, np.median(rounds, axis=0), strict=True):
        print(f"| {name} | {cold:.1f} | {n_images / cold:.0f} | {warm:.2f} |")


def peak_memory():
    """Print the peak memory of this process after so many images, of 3 kB of features each."""
    images = np.random.default_rng(0).integers(0, 256, (MEMORY_STEPS[-1], 8, 8), np.uint8)
    print("| kept | images | features, MB | peak memory, MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kept, cache_dir in (("no", None), ("yes", folder)):
            features = PretrainedFeatureTransformer("tiny", cache_dir=cache_dir)
            done = 0
            for batch in features.transform_batches(images, batch_size=MEMORY_BATCH):
                done += len(batch)
                if done in MEMORY_STEPS:
                    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                    size = done * batch[0].nbytes / 1e6
                    print(f"| {kept} | {done:,} | {size:,.0f} | {peak:,.0f} |", flush=True)


def identification(n_files=100_000):
    """Print microseconds a file to look features up, and seconds of a search, and of what."""
    images = np.random.default_rng(0).integers(0, 256, (n_files, 16, 16), np.uint8)
    y = np.arange(n_files) % 2
    with tempfile.TemporaryDirectory() as folder:
        paths = np.array([f"{folder}/{i}.bmp" for i in range(n_files)])
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path)
        features = PretrainedFeatureTransformer(
            "tiny", input_size=(16, 16), pooling="avg", cache_dir=folder
        )
        features.fit_transform(paths)
        print("| digests | once, μs a file | identified | search, s | identified |")
        print("|---|---|---|---|---|")
        for word, settled in (("not remembered", np.inf), ("remembered", 0)):
            digests.SETTLED_SECONDS = settled
            features.transform(paths)  # remembers
            once = 1e6 / n_files * once_and_identified(features, paths)
            searched = search_and_identified(features, paths, y)
            cells = [f"{x:.1f}" for x in (*once, *searched)]
            print(f"| {word} | {' | '.join(cells)} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:,.0f} MB")


def once_and_identified(features, paths):
    """Seconds to look features up, and to find out which images they are: the least of 3."""
    ways = (features.transform, features._feature_extractor().identify)
    return np.min([[elapsed(way, paths) for way in ways] for _ in range(3)], axis=0)


def search_and_identified(features, paths, y):
    """Seconds of a search, and to find out which images its 16 look-ups are of."""
    pipeline = make_pipeline(features, SGDClassifier(max_iter=5, tol=None))
    folds, strengths = StratifiedKFold(4), [0.001, 0.01, 0.1, 1]
    grid = {"sgdclassifier__alpha": strengths}
    model = GridSearchCV(pipeline, grid, cv=folds, refit=False)
    identify = features._feature_extractor().identify
    parts = [paths[part] for split in folds.split(paths, y) for part in split]
    identified = sum(elapsed(identify, part) for part in parts)
    return elapsed(model.fit, paths, y), len(strengths) * identified


def elapsed(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    ways = {"ways": compare, "memory": peak_memory, "files": identification}
    ways[what](*map(int, numbers))
