"""Float reference of the rankers, and the container of their parameters.

Ref: M. Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation
Systems", arXiv:1906.00091, section 2 (dot, concat); X. He et al., "Neural Collaborative
Filtering", WWW 2017, section 3.4 (product).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rpaccel.spec.ranker import InteractionName, RankerConfig
from rpaccel.spec.records import DENSE_SCALE, FeatureData, FeatureSchema

Float = npt.NDArray[np.float32]
FORMAT_VERSION = 1
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: same parameters, same bytes


@dataclass(frozen=True, kw_only=True)
class RankerParameters:
    """A trained ranker.

    Members
    -------
    config : RankerConfig
    schema : FeatureSchema  The records it was trained on.
    tables : feature name -> float32[rows, dim]
    bottom, top : ((weights float32[in, out], bias float32[out]), ...)
    provenance : command, seed, versions and data hash, JSON-able
    """

    config: RankerConfig
    schema: FeatureSchema
    tables: dict[str, Float]
    bottom: tuple[tuple[Float, Float], ...]
    top: tuple[tuple[Float, Float], ...]
    provenance: dict[str, Any]

    def __post_init__(self) -> None:
        name = self.config.name
        for feature in self.config.sparse(self.schema):
            _check_shape(f"{name}: table {feature.name}", self.tables[feature.name],
                         (feature.rows, self.config.dim))  # fmt: skip
        for part, layers, shapes in (
            ("bottom", self.bottom, self.config.bottom_shapes),
            ("top", self.top, self.config.top_shapes),
        ):
            for i, ((weights, bias), shape) in enumerate(zip(layers, shapes, strict=True)):
                _check_shape(f"{name}: {part}{i} weights", weights, shape)
                _check_shape(f"{name}: {part}{i} bias", bias, shape[1:])

    def save(self, path: str | Path) -> None:
        """Write an npz; the same parameters give the same bytes. Tables are stored as float16.

        Raises ValueError if a table is not exactly representable in float16 (see `rounded`).
        """
        arrays: dict[str, npt.NDArray[Any]] = {}
        for feature, table in self.tables.items():
            stored = table.astype(np.float16)
            if not np.array_equal(stored.astype(np.float32), table):
                raise ValueError(f"table {feature} must hold float16 values; call rounded() first")
            arrays[f"table.{feature}"] = stored
        for part, layers in (("bottom", self.bottom), ("top", self.top)):
            for i, (weights, bias) in enumerate(layers):
                arrays[f"{part}{i}.weights"], arrays[f"{part}{i}.bias"] = weights, bias
        meta = {
            "format": FORMAT_VERSION,
            "config": self.config.model_dump(mode="json", exclude_defaults=True),
            "schema": self.schema.model_dump(mode="json"),
            "provenance": self.provenance,
        }
        text = json.dumps(meta, sort_keys=True).encode()
        arrays["meta"] = np.frombuffer(text, dtype=np.uint8)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in sorted(arrays):
                raw = BytesIO()
                np.save(raw, arrays[key], allow_pickle=False)
                info = zipfile.ZipInfo(f"{key}.npy", date_time=ZIP_DATE)
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, raw.getvalue())

    def rounded(self) -> RankerParameters:
        """Return a copy whose tables are rounded to float16, as they are stored."""
        tables = {n: t.astype(np.float16).astype(np.float32) for n, t in self.tables.items()}
        return RankerParameters(
            config=self.config, schema=self.schema, tables=tables, bottom=self.bottom,
            top=self.top, provenance=self.provenance,
        )  # fmt: skip


def load_parameters(path: str | Path) -> RankerParameters:
    """Read an npz written by `RankerParameters.save`.

    Raises FileNotFoundError that names the command to run, ValueError for a damaged file.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no trained parameters at {path}: run `make train DATA=...` first")
    try:
        with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path.name} must be an npz of ranker parameters: {error}") from error
    if "meta" not in arrays:
        raise ValueError(f"{path.name} must hold an entry 'meta'")
    meta = json.loads(arrays["meta"].tobytes())
    if meta["format"] != FORMAT_VERSION:
        raise ValueError(f"{path.name}: format must be {FORMAT_VERSION}, not {meta['format']}")
    config = RankerConfig.model_validate_json(json.dumps(meta["config"]))
    schema = FeatureSchema.model_validate_json(json.dumps(meta["schema"]))

    def layers(part: str, count: int) -> tuple[tuple[Float, Float], ...]:
        return tuple(
            (arrays[f"{part}{i}.weights"], arrays[f"{part}{i}.bias"]) for i in range(count)
        )

    return RankerParameters(
        config=config,
        schema=schema,
        tables={name: arrays[f"table.{name}"].astype(np.float32) for name in config.features},
        bottom=layers("bottom", len(config.bottom)),
        top=layers("top", len(config.top)),
        provenance=meta["provenance"],
    )


def pool(table: Float, ids: npt.NDArray[np.int32], pooling: str) -> Float:
    """Sum or average the rows named by each line of `ids`.

    table : float32[rows, dim]; ids : int32[n, max_ids], -1 = none.
    Returns float32[n, dim]; a line without ids gives zeros.
    """
    used = ids >= 0
    rows = table[np.where(used, ids, 0)] * used[:, :, None].astype(np.float32)
    total = rows.sum(axis=1)
    if pooling == "mean":
        total = total / np.maximum(used.sum(axis=1), 1)[:, None].astype(np.float32)
    return np.asarray(total, dtype=np.float32)


def mlp(layers: Sequence[tuple[Float, Float]], x: Float, *, relu_last: bool) -> Float:
    """Apply dense layers with ReLU between them, and after the last if `relu_last`.

    x : float32[n, in of the first layer].  Returns float32[n, out of the last layer].
    """
    for i, (weights, bias) in enumerate(layers):
        x = x @ weights + bias
        if relu_last or i + 1 < len(layers):
            x = np.maximum(x, np.float32(0))
    return x


def interact(
    vectors: npt.NDArray[Any], kind: InteractionName = "dot", user_vectors: int = 0
) -> npt.NDArray[Any]:
    """Return what the top MLP reads behind vector 0, float[n, width] of the type of `vectors`.

    vectors : float[n, vectors, dim]: vector 0, `user_vectors` of the user side, then the items'.
    dot: all dot products of two different vectors, (1,0), (2,0), (2,1), ... concat: the vectors.
    product: user vector n times item vector n, element by element, then the vectors left over.
    """
    n, count, dim = vectors.shape
    if kind == "dot":
        products = vectors @ vectors.transpose(0, 2, 1)
        i, j = np.tril_indices(count, k=-1)
        return np.asarray(products[:, i, j])
    made = vectors[:, 1:]
    if kind == "product":
        user, item = made[:, :user_vectors], made[:, user_vectors:]
        common = min(user_vectors, count - 1 - user_vectors)
        shared = user[:, :common] * item[:, :common]
        made = np.concatenate([shared, user[:, common:], item[:, common:]], axis=1)
    return made.reshape(n, made.shape[1] * dim)


def item_vectors(parameters: RankerParameters, data: FeatureData) -> dict[str, Float]:
    """Return feature name -> float32[items, dim] of every item-side feature, pooled once."""
    return {
        name: pool(parameters.tables[name], data.ids[name], parameters.schema.feature(name).pooling)
        for name in parameters.config.item_features
    }


def logits(
    parameters: RankerParameters,
    data: FeatureData,
    user: int,
    item_ids: npt.NDArray[np.integer],
    items: Mapping[str, Float] | None = None,
) -> Float:
    """Score candidates for one user.

    user : int  Row of the user records.  item_ids : int[n]  Rows of the item records.
    items : result of `item_vectors`, to save pooling the item side again.
    Returns float32[n]: the logit; `sigmoid` of it is the click-through rate.
    """
    config = parameters.config
    n = len(item_ids)
    dense = np.concatenate(
        [np.broadcast_to(data.user_dense[user], (n, config.user_dense)), data.item_dense[item_ids]],
        axis=1,
    ).astype(np.float32) * np.float32(DENSE_SCALE)
    x0 = mlp(parameters.bottom, dense, relu_last=True)
    vectors = [x0]
    for name in config.user_features:
        pooling = parameters.schema.feature(name).pooling
        pooled = pool(parameters.tables[name], data.ids[name][user : user + 1], pooling)
        vectors.append(np.broadcast_to(pooled, (n, config.dim)))
    items = item_vectors(parameters, data) if items is None else items
    vectors += [items[name][item_ids] for name in config.item_features]
    crossed = interact(np.stack(vectors, axis=1), config.interaction, len(config.user_features))
    top_input = np.concatenate([x0, crossed], axis=1)
    return mlp(parameters.top, top_input, relu_last=False)[:, 0]


def sigmoid(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-x)), without overflow, as float64."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * np.asarray(x, dtype=np.float64))))


def _check_shape(what: str, array: Float, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32:
        raise ValueError(
            f"{what} must be float32{list(shape)}, not {array.dtype}{list(array.shape)}"
        )
