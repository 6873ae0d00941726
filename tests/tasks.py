"""A callback of scikit-learn's that notes the tasks of a fit."""

from itertools import groupby


class Recorder:
    """Notes the path of each task that ends, and what it is given."""

    def __init__(self, stop_after=()):
        self.ended, self.given, self.begun = [], {}, 0
        self._stop_after = stop_after

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        assert self.begun == len(self.ended)

    def on_fit_task_begin(self, estimator, context):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None):
        path = ()
        task = context
        while task is not None:
            path, task = (task.task_name, *path), task.parent
        self.ended.append("/".join(path[1:]))
        self.given[self.ended[-1]] = X, y, metadata
        assert context.max_subtasks >= len(context._children_map)
        return (self.ended[-1], context.task_id) in self._stop_after

    def outline(self):
        """Tasks in order, with how often a leaf comes."""
        runs = [(name, len(list(run))) for name, run in groupby(self.ended)]
        return [f"{n} × {name}" if n > 1 else name for name, n in runs]
