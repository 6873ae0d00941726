import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from classifiers import classifier
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline

from sktransfer import PretrainedFeatureTransformer, audit_images
from sktransfer.__main__ import main

mpl.use("agg")

TINY = PretrainedFeatureTransformer("tiny", pooling="avg")
SIDE = 96


def shapes(n, seed=0):
    """Pictures of coloured squares or circles on other colours, no two alike, and labels."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images = []
    for is_circle in y:
        centre, radius = rng.uniform(30, SIDE - 30, 2), rng.uniform(12, 28)
        away = np.abs([rows - centre[0], columns - centre[1]])
        inside = np.hypot(*away) if is_circle else away.max(axis=0)
        image = np.where((inside < radius)[..., None], *rng.integers(30, 220, (2, 3)))
        noise = rng.normal(0, 12, (SIDE // 6, SIDE // 6, 1)).repeat(6, 0).repeat(6, 1)
        images.append(np.uint8(np.clip(image + noise, 0, 255)))
    return np.array(images), np.array(["square", "circle"])[y]


def rows_by_kind(report):
    return {one.kind: report.rows(one.kind).tolist() for one in report.findings}


@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_is_invented_of_clean_images(seed):
    X, y = shapes(80, seed)
    report = audit_images(X, y, estimator=TINY)
    assert not {"near duplicate", "exact duplicate", "blank", "dark", "bright", "blurred"} & {
        one.kind for one in report.findings
    }
    assert len(report.rows()) <= 2


def test_each_fault_of_an_image_is_found():
    X, y = shapes(60)
    X = [*X]
    X[0] = np.full_like(X[0], 90)
    X[1] = np.uint8(X[1] * 0.1)
    X[2] = np.uint8(255 - (255 - X[2]) * 0.1)
    X[3] = X[3].mean(axis=2).astype(np.uint8)
    X[4] = X[4][:8, :10]
    X[5] = X[5][:20]
    small = Image.fromarray(X[6]).resize((5, 5))
    X[6] = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    X[7] = np.zeros((3, 3, 9))
    X[8] = None
    report = audit_images(X, y, estimator=TINY)
    found = rows_by_kind(report)
    assert set(found["unreadable"]) == {7, 8}
    assert found["blank"] == [0]
    assert found["dark"] == [1]
    assert found["bright"] == [2]
    assert found["grey among colour"] == [3]
    assert found["odd size"] == [4]
    assert 5 in found["odd shape"]
    assert found["blurred"] == [6]
    whole = audit_images([X[1]] * 3, estimator=TINY)  # few, so that none is unlike the others
    assert set(rows_by_kind(whole)) == {"dark", "exact duplicate"}


@pytest.mark.parametrize("kind", ["paths", "bytes", "frame", "arrays"])
def test_copies_are_found_in_whatever_form_images_come(kind, tmp_path):
    arrays, y = shapes(40)
    y = y.copy()
    groups = np.array(["train"] * 30 + ["test"] * 10)
    paths = [tmp_path / f"{i}.png" for i in range(43)]
    copies = [
        Image.fromarray(arrays[3]),
        Image.fromarray(arrays[4][:, ::-1]).resize((70, 60)),
        Image.fromarray(arrays[5]).crop((8, 4, 92, 88)),
    ]
    for path, image in zip(paths, [*map(Image.fromarray, arrays), *copies], strict=True):
        image.save(path)
    y = np.append(y, ["square" if y[3] == "circle" else "circle", y[4], y[5]])
    groups = np.append(groups, ["train", "test", "train"])
    X = {
        "paths": [str(path) for path in paths],
        "bytes": [path.read_bytes() for path in paths],
        "frame": pd.DataFrame({"file": [str(path) for path in paths]}),
        "arrays": [np.asarray(Image.open(path)) for path in paths],
    }[kind]
    report = audit_images(X, y, groups=groups, estimator=TINY)
    found = rows_by_kind(report)
    assert found["exact duplicate"] == [40]
    assert sorted(found["near duplicate"]) == [41, 42]
    assert found["two labels"] == [40]
    assert found["leak"] == [41]
    frame = report.to_frame()
    others = dict(frame[frame.kind == "near duplicate"][["row", "other"]].to_numpy().tolist())
    assert others == {41: 4, 42: 5}
    assert frame["path"].isna().all() == (kind in ("bytes", "arrays"))
    [first, _] = [one for one in report.findings if one.kind == "near duplicate"]
    assert first.detail.startswith("of row 4, mirrored")


def test_labels_are_doubted_by_any_classifier(digits):
    images, y = digits[0][:400], digits[1][:400].copy()
    wrong = np.array([3, 70, 200, 301])
    y[wrong] = (y[wrong] + 5) % 10
    features = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
    forest = make_pipeline(features, RandomForestClassifier(random_state=0))
    for estimator in (features, forest):
        report = audit_images(images, y, estimator=estimator)
        suspects, worst = report.rows("suspect label"), np.argsort(report.label_quality)[:4]
        assert np.isin(wrong, suspects).sum() >= 3
        assert np.isin(wrong, worst).sum() >= 3
        assert len(suspects) <= 6
        assert ((report.label_quality >= 0) & (report.label_quality <= 1)).all()
    tuned = classifier(pooling="avg", unfreeze=0, augmentation=None)
    some = audit_images(images[:60], y[:60] % 2, estimator=tuned)
    assert np.isfinite(some.label_quality).all()
    numbers = audit_images(images[:30], y[:30] + 0.5, estimator=features)
    assert numbers.label_quality is None


def test_a_class_of_one_image_is_not_judged(digits):
    images, y = digits[0][:60], (digits[1][:60] > 4).astype(int)
    y[7] = 9
    features = PretrainedFeatureTransformer("tiny", input_range=(0, 16))
    report = audit_images(images, y, estimator=features)
    assert np.flatnonzero(np.isnan(report.label_quality)).tolist() == [7]


def test_a_report_in_text_in_html_and_in_pictures(tmp_path):
    X, y = shapes(30)
    X = [*X, X[4], np.full_like(X[0], 90), b"<b>no image</b>"]
    report = audit_images(X, [*y, "square", "circle", "circle"], estimator=TINY)
    text = str(report)
    assert text.startswith("33 images, 3 of them with findings")
    assert "\nblank: 1 (hardly anything is to be seen)\n  row 31: levels 90 to 90" in text
    page = report._repr_html_()
    assert page.count("data:image/png;base64,") >= 3
    assert "unreadable: 1" in page
    figure = report.plot(kinds=["exact duplicate", "unreadable"])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert [title.split("\n")[0] for title in titles] == [
        "unreadable",
        "exact duplicate",
        "the original:",
    ]
    figure.savefig(tmp_path / "audit.png")
    mpl.pyplot.close("all")
    with pytest.raises(ValueError, match="kind='ugly' is none of"):
        report.rows("ugly")
    assert "nothing found" in str(audit_images(X[:3], estimator=TINY))
    assert len(audit_images(["a.png", "b.png"], estimator=TINY).rows("unreadable")) == 2
    with pytest.raises(ValueError, match="X has 3 images and groups 2"):
        audit_images(X[:3], groups=[0, 1], estimator=TINY)


def test_the_command_line_reports_and_saves(tmp_path, capsys):
    X, y = shapes(24)
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        path = tmp_path / "data" / ("train" if i < 16 else "test") / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(X[0] if i == 22 else image).save(path)
    data = str(tmp_path / "data")
    output = str(tmp_path / "report.csv")
    assert main(["audit", data, "--backbone", "tiny", "--output", output]) == 0
    assert "leak: 1 (a copy lies in another group)" in capsys.readouterr().out
    kinds = pd.read_csv(output)["kind"]
    assert {"leak", "exact duplicate"} <= set(kinds)
    page = str(tmp_path / "report.html")
    assert main(["audit", data, "--backbone", "tiny", "--output", page]) == 0
    assert "leak: 1" in (tmp_path / "report.html").read_text()
    assert main(["audit"]) == 1
    assert "audit needs a folder" in capsys.readouterr().err
