"""Dask and Ray: what their workers make of parts is what one process makes of all.

The recipes are those of docs/many_machines.md, run as they stand there. The libraries are in
the extra sktransfer[test-many].
"""

import importlib
import os
import re
import signal
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from caches import rows_kept
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from sktransfer import PretrainedFeatureTransformer
from sktransfer._features.segments import SUFFIX

# Ray Data's own settings, and its use of pandas.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning:ray")
PAGE = Path(__file__).parents[1] / "docs" / "many_machines.md"
RESULTS = {  # heading on the page → what its recipe makes, as an array
    "Zarr": "features[:]",
    "Parquet": "pd.read_parquet('features.parquet')",
    "Data frames": "features.compute()",
    "Bags": "features.compute()",
    "Arrays": "features.compute()",
    "dask-ml": "features.compute()",
    "Searches on Dask": "search.cv_results_['mean_test_score']",
    "Ray": "np.stack(features.to_pandas().sort_values('path')['features'])",
    "Searches on Ray": "search.cv_results_['mean_test_score']",
}
IMAGES = np.random.default_rng(0).integers(0, 256, (6000, 8, 8, 3), dtype=np.uint8)
SOME = IMAGES[:40]
LABELS = np.arange(len(SOME)) % 2


def transformer(cache_dir, **parameters):
    return PretrainedFeatureTransformer(
        "tiny", pooling="avg", cache_dir=cache_dir, **parameters
    )


def search(cache_dir):
    pipeline = make_pipeline(transformer(cache_dir), LogisticRegression())
    return GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=3, n_jobs=2)


def needed(library):
    """A module of that library, or a reason to skip the test."""
    reason = f"{library} is not installed: pip install sktransfer[test-many]"
    return pytest.importorskip(library, reason=reason)


@contextmanager
def client_of(n_workers):
    """A client of so many workers of Dask on this machine, to which warnings are errors."""
    distributed = needed("distributed")
    with (
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.run(warnings.simplefilter, "error", UserWarning)
        yield client


@pytest.fixture(scope="module")
def client():
    with client_of(2) as client:
        yield client


@pytest.fixture(scope="module")
def workers_of_ray(tmp_path_factory):
    """Ray on this machine, with two workers."""
    os.environ["RAY_AUTH_MODE"] = "disabled"  # before it is imported
    ray = needed("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def paths(tmp_path):
    """Files of the 40 images."""
    paths = [str(tmp_path / f"{i:02}.png") for i in range(len(SOME))]
    for image, path in zip(SOME, paths, strict=True):
        Image.fromarray(image).save(path)
    return paths


def assert_close(features, expected):
    """Equal but for what another place in a batch changes."""
    np.testing.assert_allclose(np.asarray(features), expected, rtol=1e-5, atol=1e-5)


def recipes():
    """The code below each heading of the page that has any, to run with the libraries."""
    sections = re.split(r"^##+ (.+)\n", PAGE.read_text(), flags=re.MULTILINE)[1:]
    for heading, section in zip(sections[::2], sections[1::2], strict=True):
        for code in re.findall(r"^```python\n((?!>>>).+?)^```", section, re.M | re.S):
            marks = [pytest.mark.slow] if "import ray" in code else []
            yield pytest.param(heading, code, id=heading, marks=marks)


@pytest.mark.parametrize(("heading", "code"), [*recipes()])
def test_recipes_make_what_one_process_makes(
    heading, code, paths, tmp_path, monkeypatch, request
):
    for library in re.findall(r"^(?:import|from) (\w+)", code, re.MULTILINE):
        needed(library)
    monkeypatch.chdir(tmp_path)
    here = {
        "__name__": "__main__",  # or workers would look for a module
        "np": np,
        "pd": pd,
        "paths": paths,
        "labels": LABELS,
        "transformer": transformer(tmp_path / "features").fit(paths),
        "search": search(tmp_path / "features"),
    }
    if "dask" in code:
        here["address"] = request.getfixturevalue("client").scheduler.address
    if "import ray" in code:
        request.getfixturevalue("workers_of_ray")
    if "images.zarr" in code:
        importlib.import_module("zarr").save("images.zarr", SOME)
    exec(code, here)
    if heading.startswith("Searches"):
        expected = search(None).fit(paths, LABELS).cv_results_["mean_test_score"]
    else:
        expected = transformer(None).transform(paths)
    assert_close(eval(RESULTS[heading], here), expected)


def test_collections_of_dask_are_refused_with_a_recipe_that_works(client, paths, cache):
    da, db, dd = map(needed, ("dask.array", "dask.bag", "dask.dataframe"))
    table = dd.from_pandas(pd.DataFrame({"path": paths}), npartitions=3)
    rows = {"image_shape": (8, 8, 3)}
    for X, first, parameters in (
        (da.from_array(SOME, chunks=(7, 4, 8, 3)), SOME, {}),
        (da.from_array(SOME[..., 0], chunks=(7, 8, 8)), SOME[..., 0], {}),
        (da.from_array(SOME.reshape(40, -1), chunks=(7, 192)), SOME.reshape(40, -1), rows),
        (db.from_sequence(paths, npartitions=3), paths, {}),
        (table, pd.DataFrame({"path": paths}), {}),
        (table["path"], paths, {}),
    ):
        fitted = transformer(cache, **parameters).fit(first)
        for refused in (fitted.fit, fitted.transform, fitted.transform_batches):
            with pytest.raises(
                TypeError, match="of dask, whose parts are on workers"
            ) as error:
                refused(X)
        recipe = str(error.value).partition("map over the parts: ")[2]
        features = eval(recipe, {"X": X, "fitted": fitted})
        assert_close(features.compute(), fitted.transform(first))


def test_parts_may_be_empty(client, paths, cache):
    da, db, dd = map(needed, ("dask.array", "dask.bag", "dask.dataframe"))
    fitted, one = transformer(cache).fit(paths), transformer(cache).transform(paths[:1])
    none = fitted.transform([])
    column = dd.from_pandas(pd.Series(paths), npartitions=3)
    features = column[column.str.endswith("00.png")].map_partitions(
        fitted.transform, meta=none
    )
    assert_close(features.compute(), one)
    bag = db.from_sequence(paths, npartitions=3).filter(paths[0].__eq__)
    features = bag.map_partitions(lambda part: fitted.transform(list(part)))
    assert_close(features.compute(), one)
    images = da.from_array(SOME, chunks=(7, 8, 8, 3))
    images = images[(images == SOME[0]).all(axis=(1, 2, 3))]
    features = images.map_blocks(
        fitted.transform, drop_axis=[2, 3], chunks=(images.chunks[0], 48), meta=none
    )
    assert_close(features.compute(), fitted.transform(SOME[:1]))


def test_without_meta_the_error_asks_for_it(paths, cache):
    dd = needed("dask.dataframe")
    column = dd.from_pandas(pd.Series(paths), npartitions=3)
    with pytest.raises(ValueError, match="provide a meta= keyword"):
        column.map_partitions(transformer(cache).transform)


def computed(fitted, images):
    """Transform; return how many rows this process has computed for that."""
    before = fitted.cache_info().misses
    fitted.transform(images)
    return fitted.cache_info().misses - before


def use_own_folder(dask_worker):
    """Have the default cache folder of this worker be one of its own."""
    os.environ["SKTRANSFER_CACHE"] = dask_worker.local_directory


def on_each_worker(client, *job):
    """What a job makes that all workers do at once."""
    workers = client.scheduler_info()["workers"]
    return client.gather([client.submit(*job, workers=[w], pure=False) for w in workers])


def test_workers_divide_the_work_on_one_folder(client, tmp_path):
    on_each_worker(client, computed, transformer(None), IMAGES[:4])  # they load the network
    counts = on_each_worker(client, computed, transformer(tmp_path / "features"), IMAGES)
    print(f"{counts = } of {len(IMAGES)}")
    assert len(IMAGES) <= sum(counts) <= 1.2 * len(IMAGES)
    assert min(counts) > 0


def test_workers_may_have_a_folder_each(client):
    client.run(use_own_folder)
    assert on_each_worker(client, computed, transformer("default"), SOME) == [40, 40]
    assert on_each_worker(client, computed, transformer("default"), SOME) == [0, 0]


def test_a_killed_worker_loses_nothing_that_was_finished(tmp_path):
    folder = tmp_path / "features"
    with client_of(1) as client:
        [worker] = client.run(os.getpid).values()
        rest = client.submit(computed, transformer(folder), IMAGES)
        while len([*folder.rglob(f"*{SUFFIX}")]) < 2:
            time.sleep(0.01)
        os.kill(worker, signal.SIGKILL)
        while psutil.pid_exists(worker):
            time.sleep(0.01)
        kept = rows_kept(folder)  # before the worker that replaces it has begun
        assert 0 < kept < len(IMAGES)
        assert rest.result(timeout=240) == len(IMAGES) - kept


@pytest.mark.slow
def test_a_dataset_of_ray_is_refused_with_a_recipe_that_works(workers_of_ray, paths, cache):
    X = workers_of_ray.data.from_items([{"path": path} for path in paths])
    fitted = transformer(cache).fit(paths)
    with pytest.raises(TypeError, match="of ray, whose parts") as error:
        fitted.transform(X)
    recipe = str(error.value).partition("map over the parts: ")[2]
    made = eval(recipe, {"X": X, "fitted": fitted}).take_all()
    expected = fitted.transform(paths)
    assert {row["features"].tobytes() for row in made} == {row.tobytes() for row in expected}
