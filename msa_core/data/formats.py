"""What a file is that is no feature file, and what to do about it."""

import re

_CONVERT = "read it there, and write the features by msa_core.write_features (docs/own_data.md)"
AGAIN = "compare its size and SHA-256 with its source's, and get it again"

#: What a file's first bytes match -> what it is, remedy.
_FORMATS: list[tuple[re.Pattern[bytes], str, str]] = [
    (re.compile(start, re.DOTALL | re.IGNORECASE), name, remedy)
    for start, name, remedy in [
        (rb"\x1f\x8b", "a gzip file", "unpack it first: gzip -d (the name must end in .gz), or tar -xzf for a .tar.gz"),
        (rb"BZh", "a bzip2 file", "unpack it first: bzip2 -d"),
        (rb"\xfd7zXZ\0", "an xz file", "unpack it first: xz -d"),
        (rb"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first: zstd -d"),
        (rb"7z\xbc\xaf", "a 7z archive", "unpack it first: 7z x"),
        (rb"Rar!", "a rar archive", "unpack it first: unrar x"),
        (rb".{257}ustar", "a tar archive", "unpack it first: tar -xf"),
        (
            rb"PK\x03\x04.{26}[^/]{1,200}/(data\.pkl|byteorder|version|\.format_version)",
            "a file of torch.save",
            "torch.load it (weights_only=True), turn tensors into arrays with .numpy(), and write it with pickle.dump",
        ),
        (
            rb"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19",
            "a file of torch.save (the format before torch 1.6)",
            "torch.load it (weights_only=True), turn tensors into arrays with .numpy(), and write it with pickle.dump",
        ),
        (rb"PK\x03\x04.{26}[^\0]{1,200}\.npy", "an .npz file", "numpy.load: " + _CONVERT),
        (rb"PK(\x03\x04|\x05\x06)", "a zip archive", "unpack it first: unzip"),
        (rb"\x93NUMPY", "an .npy file, which holds one array", "numpy.load: " + _CONVERT),
        (rb"(.{512})?\x89HDF\r\n\x1a\n", "an HDF5 file (such as a .csd of the CMU SDK)", "h5py: " + _CONVERT),
        (rb"MATLAB 5\.0", "a MATLAB file", "scipy.io.loadmat: " + _CONVERT),
        (rb"PAR1", "a parquet file", "pandas.read_parquet: " + _CONVERT),
        (rb"ARROW1", "an Arrow file", "pyarrow: " + _CONVERT),
        (
            rb"version https://git-lfs",
            "a Git LFS pointer, which stands for the file",
            "get the file itself: git lfs pull, in the clone that it came from",
        ),
        (
            rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|body|\?xml|!--)",
            "a web page, such as a sign-in or warning page that was saved instead of the file",
            "open the address in a browser, and download the file itself",
        ),
        (rb"\x89PNG|\xff\xd8\xff|GIF8|%PDF", "an image or a PDF", "name the feature file"),
        (rb"\0{16}", "a file of zeros, such as a download that was never filled", AGAIN),
        (rb"\s*[\[{]\s*[\"\[{\d\]}-]", "a JSON file", "json.load: " + _CONVERT),
        (rb"[\x20-\x7e\x80-\xff]*[,;\t][\x20-\x7e\x80-\xff,;\t]*\r?\n", "a table as text (CSV)", "pandas: " + _CONVERT),
    ]
]

#: The first part of a name -> what it belongs to, remedy.
_LIBRARIES = {
    "torch": ("a torch tensor", "write arrays: tensor.detach().cpu().numpy()"),
    "pandas": ("a pandas object", "write arrays and lists: series.to_numpy(), frame.to_dict('list'), index.tolist()"),
    "pyarrow": ("an Arrow array", "write arrays and lists: array.to_numpy(), array.to_pylist()"),
    "scipy": ("a scipy object", "write a sparse matrix as an array: matrix.toarray()"),
    "joblib": ("a file of joblib.dump", "joblib.load it, and write it with pickle.dump"),
    "tensorflow": ("a tensorflow object", "write arrays: tensor.numpy()"),
    "jax": ("a jax array", "write arrays: numpy.asarray(array)"),
    "jaxlib": ("a jax array", "write arrays: numpy.asarray(array)"),
}


def foreign_format(head: bytes) -> tuple[str, str] | None:
    """What a file is by its first bytes (a kilobyte), and the remedy; None: it may be a pickle."""
    return next(((name, remedy) for start, name, remedy in _FORMATS if start.match(head)), None)


def refusal_of_name(name: str) -> str:
    """The message about a name, such as `torch._utils._rebuild_tensor_v2`, that no feature file needs."""
    shown = name if len(name) <= 100 else f"{name[:100]}..."
    what, remedy = _LIBRARIES.get(
        name.partition(".")[0],
        (
            "an object of another kind",
            "if you wrote this file, write it again without that; if not, do not open it in other programs: "
            "it asks to run something",
        ),
    )
    return f"refused {shown}: got {what}, expected numpy arrays and plain containers; {remedy}"
