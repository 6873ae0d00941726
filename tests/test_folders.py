"""`load_image_folder`: which files of a folder are images, and of what class."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_files

from sktransfer import PretrainedFeatureTransformer, load_image_folder

JUNK = (
    *(
        "cats/.DS_Store",
        "cats/._1.jpg",
        "dogs/Thumbs.db",
        "dogs/notes.txt",
        "cats/.hidden/1.jpg",
    ),
    *("__MACOSX/cats/1.jpg", ".ipynb_checkpoints/1.jpg", "README.md", "dogs/__MACOSX/1.jpg"),
)


def make(folder, names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path, "PNG")  # whatever its name
    return folder


def relative(files, folder):
    return [str(name).removeprefix(f"{folder}/") for name in files]


def test_it_lists_images_and_their_classes_and_no_junk(tmp_path):
    images = ["cats/1.jpg", "cats/2.JPEG", "dogs/1.png", "dogs/puppies/1.webp"]
    make(tmp_path, [*JUNK, *images])
    pets = load_image_folder(tmp_path)
    assert relative(pets.filenames, tmp_path) == images
    assert (pets.target.tolist(), pets.target_names) == ([0, 0, 1, 1], ["cats", "dogs"])
    assert len(load_image_folder(str(tmp_path), recursive=False).filenames) == 3
    notes = load_image_folder(tmp_path, allowed_extensions=[".TXT", ".jpg"])
    assert relative(notes.filenames, tmp_path) == ["cats/1.jpg", "dogs/notes.txt"]
    PretrainedFeatureTransformer("tiny").fit_transform(pets.filenames)


def test_it_is_what_scikit_learn_lists_where_all_are_images(data_folder):
    folder = data_folder / "domains" / "xray"
    ours = load_image_folder(folder)
    files = load_files(folder, load_content=False, shuffle=False)
    assert ours.target_names == files.target_names
    assert dict(zip(ours.filenames, ours.target, strict=True)) == dict(
        zip(files.filenames, files.target, strict=True)
    )


def test_parts_are_parts_and_agree_on_the_classes(tmp_path):
    make(
        tmp_path,
        ["train/a/1.png", "train/b/1.png", "train/c/1.png", "val/a/1.png", "val/c/1.png"],
    )
    parts = load_image_folder(tmp_path)
    assert list(parts) == ["train", "val"]
    assert relative(parts.val.filenames, tmp_path) == ["val/a/1.png", "val/c/1.png"]
    assert parts.val.target.tolist() == [0, 2]
    assert parts.train.target_names == parts.val.target_names == ["a", "b", "c"]
    make(tmp_path, ["train/d/notes.txt"])
    with pytest.warns(UserWarning, match=r"left out: \['d'\]"):
        assert load_image_folder(tmp_path).val.target_names == ["a", "b", "c"]


def test_classes_may_be_called_as_parts_are(tmp_path):
    make(tmp_path, ["train/1.png", "test/1.png"])  # and have images, not sub-folders
    assert load_image_folder(tmp_path).target_names == ["test", "train"]


def test_links_to_folders_of_a_class_are_followed(tmp_path):
    make(tmp_path / "elsewhere", ["1.png"])
    make(tmp_path / "pets", ["dogs/1.png"])
    (tmp_path / "pets" / "cats").symlink_to(tmp_path / "elsewhere")
    assert load_image_folder(tmp_path / "pets").target.tolist() == [0, 1]


def test_what_has_no_images_is_said(tmp_path):
    make(tmp_path, ["cats/1.png", "dogs/1.dicom"])
    with pytest.warns(UserWarning, match=r"left out: \['dogs'\]"):
        assert load_image_folder(tmp_path).target_names == ["cats"]
    with pytest.raises(ValueError, match=r"no images in .*cats.*a sub-folder for each class"):
        load_image_folder(tmp_path / "cats")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_image_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is one text"):
        load_image_folder(tmp_path, allowed_extensions=".png")
    with pytest.raises(NotADirectoryError):
        load_image_folder(tmp_path / "cats" / "1.png")
    assert np.array_equal(
        load_image_folder(tmp_path, allowed_extensions=[".dicom", ".png"]).target, [0, 1]
    )
