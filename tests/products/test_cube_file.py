"""The cube file: its background model is linear, and what is not a whole cube is refused in one line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from ffi_files import series

from tasoc_mpi.core.errors import InputError, MissingInput
from tasoc_mpi.cubes.file_writing import reserve_space
from tasoc_mpi.cubes.prepare import PrepareOptions, prepare_folder
from tasoc_mpi.products.cube import ATTRIBUTES, FORMAT_VERSION, allocate_cube, open_cube
from tasoc_mpi.products.hdf5_read import HDF5Reader

NAME = "sector030_camera1_ccd1.hdf5"


@pytest.fixture(scope="module")
def corner(tmp_path_factory) -> Path:
    """A cube from the CCD's corner, where the background has a radial part; it is stored as pixels too."""
    folder = tmp_path_factory.mktemp("corner")
    series(folder, 5, (150, 160), first=(44, 0))
    prepare_folder(folder, PrepareOptions(backgrounds=True))
    return folder / NAME


@pytest.fixture
def copy(corner: Path, tmp_path: Path) -> Path:
    path = tmp_path / NAME
    path.write_bytes(corner.read_bytes())
    return path


def test_stored_background_is_the_model(corner: Path) -> None:
    cube = open_cube(corner)
    assert len(cube.background.radial) > 10
    assert cube.backgrounds is not None
    for t in range(5):
        np.testing.assert_allclose(cube.backgrounds[:, :, t], cube.background.frame((150, 160), t), rtol=1e-6)


def test_stamp_and_sum_of_the_model(corner: Path) -> None:
    background = open_cube(corner).background
    frames = np.stack([background.frame((150, 160), t) for t in range(5)], axis=-1)
    np.testing.assert_allclose(background.stamp(3, 90, 100, 160), frames[3:90, 100:160], rtol=1e-6)
    rows, columns = (np.random.default_rng(0).integers(0, n, 70) for n in (150, 160))
    np.testing.assert_allclose(
        background.total(rows, columns), frames[rows, columns].sum(axis=0, dtype="f8"), rtol=1e-6
    )


def test_cube_without_pixels_of_the_background(tmp_path: Path) -> None:
    series(tmp_path, 2, (64, 64))
    prepare_folder(tmp_path)
    assert open_cube(tmp_path / NAME).backgrounds is None


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        open_cube(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="tasoc-mpi prepare") as error:
        open_cube(tmp_path / NAME)
    assert str(tmp_path / NAME) in str(error.value)


def test_other_version(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["FORMAT_VERSION"] = FORMAT_VERSION + 1
    refused(copy, f"cube format {FORMAT_VERSION + 1}, this program reads {FORMAT_VERSION}")


def test_unfinished(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["COMPLETE"] = False
    refused(copy, "unfinished; run tasoc-mpi prepare again")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_truncated(copy: Path, keep: float) -> None:
    os.truncate(copy, int(keep * copy.stat().st_size))
    refused(copy, "cannot be read as a cube|truncated")


def test_not_hdf5(copy: Path) -> None:
    copy.write_text("SIMPLE  =                    T")
    refused(copy, "cannot be read as a cube")


def test_other_hdf5(copy: Path) -> None:
    with h5py.File(copy, "w") as file:
        file["x"] = 1
    refused(copy, "not a cube")
    with h5py.File(copy, "w") as file:
        file["images/0000"] = np.zeros((4, 4))
    refused(copy, "one dataset a frame")


@pytest.mark.parametrize("name", ["time", "quality", "wcs", "background/mesh", "ephemeris", "sumimage"])
def test_without_a_dataset(copy: Path, name: str) -> None:
    with h5py.File(copy, "r+") as file:
        del file[name]
    refused(copy, "no dataset|no group|neither a group")


def test_values_that_lie_in_another_file(copy: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.hdf5"
    shutil.copy(copy, other)
    with h5py.File(copy, "r+") as file:
        del file["time"]
        file["time"] = h5py.ExternalLink("other.hdf5", "time")
    refused(copy, "time is a link, which is not followed")
    with h5py.File(copy, "r+") as file:
        del file["time"]
        file["time"] = h5py.SoftLink("/time")
    refused(copy, "time is a link, which is not followed")
    with h5py.File(copy, "r+") as file:
        del file["time"]
        layout = h5py.VirtualLayout((5,), "f8")
        layout[...] = h5py.VirtualSource("other.hdf5", "time", (5,))
        file.create_virtual_dataset("time", layout)
    refused(copy, "the values of time lie in another file")


def test_a_dataset_larger_than_its_file(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        del file["sumimage"]
        file.create_dataset("sumimage", (1 << 20, 1 << 20), "f8", chunks=(64, 64))
    refused(copy, "sumimage has shape")
    with h5py.File(copy, "r+") as file:
        del file["wcs/sip_a"]
        file.create_dataset("wcs/sip_a", (5, 1 << 16, 1 << 16), "f8", chunks=(1, 64, 64))
    refused(copy, "sip_a has .* GB, but 0 bytes are stored")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("backgrounds_pixels_used", np.zeros((0, 0), "u1")),
        ("wcs/crval", np.zeros((5, 2), complex)),
        ("cadenceno", np.full(5, 2**40)),
        ("cadenceno", np.full(5, 1.5)),
        ("background/mesh", np.zeros((1, 1, 5), "f4")),
        ("wcs/sip_a", np.zeros((5, 200, 200))),
    ],
)
def test_values_of_another_type_or_shape(copy: Path, name: str, values: np.ndarray) -> None:
    with h5py.File(copy, "r+") as file:
        del file[name]
        file[name] = values
    refused(copy, name.removesuffix("_a"))


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        ("images", "CAMERA", 9),
        ("images", "SECTOR", "x"),
        ("images", "CADENCE", np.nan),
        ("wcs", "ref_frame", 99),
        ("background", "box", 0),
        ("background", "centre", [1.0]),
        ("background", "radial_step", 0.0),
    ],
)
def test_attributes_that_cannot_be_true(copy: Path, item: str, key: str, value: object) -> None:
    with h5py.File(copy, "r+") as file:
        file[item].attrs[key] = value
    refused(copy, f"attribute {key} of {item}")


def test_named_pipe_and_folder_in_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / NAME)
    refused(tmp_path / NAME, "a named pipe")
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    refused(tmp_path / NAME, "a folder")


def test_large_arrays_in_chunks(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        values = file["images"][()]
        attributes = dict(file["images"].attrs)
        del file["images"]
        file.create_dataset("images", data=values, chunks=(10, 10, 5))
        file["images"].attrs.update(attributes)
    refused(copy, "images is not stored in one piece")


def test_arrays_of_different_shape(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        del file["pixel_flags"]
        file["pixel_flags"] = np.zeros((150, 160, 4), dtype="u1")
    refused(copy, "pixel_flags has another shape")


def test_allocated_cube_is_unfinished_and_takes_its_room(tmp_path: Path) -> None:
    path = tmp_path / "new.hdf5"
    allocate_cube(path, (10, 20, 30), dict.fromkeys(ATTRIBUTES, 1))
    refused(path, "unfinished")
    content = path.read_bytes()
    reserve_space(path, 0, len(content))
    # Its blocks are on the disk: writing to it later cannot fail for want of room.
    assert path.stat().st_blocks * 512 >= len(content) > 10 * 20 * 30 * 9
    assert path.read_bytes() == content
    with pytest.raises(KeyError, match="CRSPOC"):
        allocate_cube(path, (1, 1, 1), {key: 1 for key in ATTRIBUTES if key != "CRSPOC"})


def test_a_heap_of_texts_that_has_no_end_is_refused(tmp_path: Path) -> None:
    """HDF5 1.14 walks for ever through a heap whose rest is zero; others it reads."""
    path = tmp_path / "texts.hdf5"
    with h5py.File(path, "w") as file:
        file.attrs["WORDS"] = "text" * 50
        file["more"] = np.array(["a", "longer text", ""] * 300, dtype=h5py.string_dtype())
    with HDF5Reader(path, "a file", "make it again") as reader:
        assert reader.attribute("", "WORDS") == "text" * 50
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    data[start + 16 :] = bytes(len(data) - start - 16)
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"texts\.hdf5: cannot be read as a file \(a heap of texts is damaged\)"
    ):
        HDF5Reader(path, "a file", "make it again")
