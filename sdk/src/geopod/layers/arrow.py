"""Write the rows of one node to an Arrow IPC file, batch by batch, in the order of `_fid`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

_ROWS_PER_BATCH = 16_384


class RowWriter:
    """An Arrow file that grows by batches of one schema; closed in the order of `_fid`."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._writer = pa.ipc.new_file(pa.OSFile(str(path), "wb"), schema)
        self._last = -(2**63)
        self._is_ordered = True
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; raises pyarrow.ArrowInvalid if they do not fit the schema."""
        if not batch.num_rows:
            return
        fids = batch.column("_fid").to_numpy(zero_copy_only=False)
        self._is_ordered &= bool(fids[0] > self._last and (np.diff(fids) > 0).all())
        self._last = int(fids[-1])
        self.rows += batch.num_rows
        self._writer.write_batch(batch.cast(self._schema))

    def close(self) -> None:
        """Finish the file; rows that came in another order are sorted on disk."""
        self._writer.close()
        if not self._is_ordered:
            self._sort()

    def _sort(self) -> None:
        """Rewrite the file by `_fid`; of the old one only the rows at hand are in memory."""
        unsorted = self._path.with_suffix(".unsorted")
        self._path.rename(unsorted)
        with (
            pa.memory_map(str(unsorted)) as source,
            pa.ipc.new_file(pa.OSFile(str(self._path), "wb"), self._schema) as writer,
        ):
            table = pa.ipc.open_file(source).read_all()
            order = np.argsort(table.column("_fid").to_numpy(), kind="stable")
            for start in range(0, len(order), _ROWS_PER_BATCH):
                part = table.take(pa.array(order[start : start + _ROWS_PER_BATCH]))
                writer.write_table(part.combine_chunks())
        unsorted.unlink()


@contextmanager
def row_writer(path: Path, schema: pa.Schema) -> Iterator[RowWriter]:
    """Return a writer whose file is complete when the block ends without an error."""
    writer = RowWriter(path, schema)
    yield writer
    writer.close()
