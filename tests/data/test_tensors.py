"""Oracle: `safetensors.safe_open` and the arrays that were written."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors import safe_open

from msa_core.data.tensors import Streamed, write_tensors

some_arrays = st.sampled_from([np.int64, np.float32, np.uint8]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=3, min_side=0))
)


@given(st.dictionaries(st.text("abc/", min_size=1), some_arrays, min_size=1, max_size=6), st.integers(1, 3))
def test_what_is_written_in_pieces_is_read_whole(tmp_path_factory, tensors, step):
    path = tmp_path_factory.mktemp("tensors") / "file"
    counted = {"pieces": 10**6}

    def pieces(array):
        for start in range(0, len(array), step):
            counted["pieces"] += 1
            yield array[start : start + step]

    streamed = {name: Streamed(array.shape, array.dtype, pieces(array)) for name, array in tensors.items()}
    counted["pieces"] = 10**6

    def metadata():
        return {"count": str(counted["pieces"])}

    write_tensors(path, streamed, metadata)
    with safe_open(path, framework="np") as stored:
        assert set(stored.keys()) == set(tensors)
        assert stored.metadata() == {"count": str(10**6 + sum(-(-len(a) // step) for a in tensors.values()))}
        for name, array in tensors.items():
            np.testing.assert_array_equal(stored.get_tensor(name), array)
            assert stored.get_tensor(name).dtype == array.dtype
