"""Word embeddings of class prompts from a frozen text encoder, computed once and cached.

The cache's key is a hash of the encoder, its weights and the prompts; a run keeps the embeddings in its checkpoint, so
it reloads without the encoder.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ltml.errors import InputError, first_few, suggest
from ltml.files import cache_folder, hash_json, write_atomically
from ltml.models.hub import NotHereError, fetching
from ltml.models.weights import check_weights

log = logging.getLogger(__name__)

ENCODERS = {
    "none": "no prompts: label queries only",
    "open_clip": "a CLIP text tower: text.name is the model, text.weights a pretrained tag or a local checkpoint",
    "transformers": "a language model, e.g. BlueBERT: text.name is a hub name or local folder; text.pooling",
    "word_vectors": "a word-vector file (word2vec or GloVe text format): text.name is the file",
}
"""Text encoders and what they need."""


@dataclass(frozen=True)
class TextConfig:
    """The recipe's ``text`` section; see `ltml.recipe.schema.TextSection`."""

    encoder: str
    name: str | None
    weights: str | None
    pooling: str
    mode: str
    template: str
    label_text: Mapping[str, str]


def make_prompts(config: TextConfig, label_names: Sequence[str]) -> list[str]:
    """One prompt per class, or one that lists all classes (``mode: joint_tokens``).

    Raises:
        InputError: the template lacks {LN}, or ``label_text`` names a label that does not exist.
    """
    if "{LN}" not in config.template:
        raise InputError(f"text.template '{config.template}' has no {{LN}}, the place of the class name")
    for label in config.label_text:
        if label not in label_names:
            raise InputError(f"text.label_text names the label '{label}': {suggest(label, label_names)}")
    names = [config.label_text.get(name, name) for name in label_names]
    fills = names if config.mode == "per_class" else [", ".join(names)]
    return [config.template.replace("{LN}", fill) for fill in fills]


def embed_prompts(config: TextConfig, label_names: Sequence[str]) -> Tensor | None:
    """Word embeddings ``(M, D')`` float32 of the class prompts; None for ``encoder: none``.

    Raises:
        InputError: the encoder's name, weights or file are missing or wrong.
        LtmlError: weights that are neither local, cached nor reachable.
    """
    if config.encoder == "none":
        return None
    check_encoder(config)
    prompts = make_prompts(config, label_names)
    path = _cache_path(config, prompts)
    if path.is_file():
        return torch.from_numpy(np.load(path, allow_pickle=False))
    log.info("embedding %d prompt(s) with %s %s", len(prompts), config.encoder, config.name)
    encode = {"open_clip": _open_clip, "transformers": _transformers, "word_vectors": _word_vectors}[config.encoder]
    embeddings = encode(config, prompts).astype(np.float32)
    write_atomically(path, lambda temporary: np.save(temporary, embeddings))
    return torch.from_numpy(embeddings)


def check_encoder(config: TextConfig) -> None:
    """Check what can be known of an encoder without loading it.

    Raises:
        InputError: it has no name, or there is no word-vector file of that name.
    """
    if config.encoder == "none":
        return
    if config.name is None:
        raise InputError(f"text.encoder={config.encoder} needs text.name: {ENCODERS[config.encoder]}")
    if config.encoder == "word_vectors" and not Path(config.name).is_file():
        raise InputError(f"text.name={config.name}: there is no such file; needed is {ENCODERS[config.encoder]}")


def _cache_path(config: TextConfig, prompts: Sequence[str]) -> Path:
    key = [config.encoder, config.name, config.weights, config.pooling, config.mode, list(prompts)]
    sources = [_file_state(name) for name in (config.name, config.weights)]
    return cache_folder() / "text" / f"{hash_json([key, sources])}.npy"


def _file_state(name: str | None) -> list[tuple[str, int, int]] | None:
    """Name, size and time of local files, so that another file at the same path is another key."""
    path = Path(name or "")
    if not name or not path.exists():
        return None
    files = [path] if path.is_file() else sorted(item for item in path.iterdir() if item.is_file())
    return [(str(item), item.stat().st_size, item.stat().st_mtime_ns) for item in files]


def _unavailable(config: TextConfig, error: Exception) -> NotHereError:
    return NotHereError(
        f"load the text encoder {config.encoder} '{config.name}' (weights: {config.weights})",
        "give a local folder or checkpoint as text.name or text.weights, or set text.encoder=none",
        error,
    )


def _is_local(*names: str | None) -> bool:
    return any(name is not None and Path(name).exists() for name in names)


def _check_local(name: str | None, key: str) -> None:
    """Refuse a local file or folder whose weights would run code as they are loaded."""
    place = Path(name or "")
    if not name or not place.exists():
        return
    try:
        check_weights(place)
    except InputError as error:
        raise InputError(f"{key}: {error}") from error


@torch.no_grad()
def _open_clip(config: TextConfig, prompts: list[str]) -> Any:
    import open_clip

    name = str(config.name)
    if ":" not in name and name not in open_clip.list_models():
        raise InputError(f"text.name: unknown open_clip model '{name}': {suggest(name, open_clip.list_models())}")
    if config.weights is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none for this model"
        raise InputError(f"text.encoder=open_clip needs text.weights: a local checkpoint, or a tag: {tags}")
    _check_local(config.weights, "text.weights")
    _check_local(name.removeprefix("local-dir:"), "text.name")
    try:
        with fetching(local=_is_local(config.weights)):
            model = open_clip.create_model(name, pretrained=config.weights, require_pretrained=True).eval()
            tokenizer = open_clip.get_tokenizer(name)
    except Exception as error:  # the hub's clients raise errors of several libraries
        raise _unavailable(config, error) from error
    tokens = tokenizer(prompts)
    if config.mode == "per_class":
        return model.encode_text(tokens).float().numpy()
    if not isinstance(tokenizer, open_clip.SimpleTokenizer):
        raise InputError(f"text.mode=joint_tokens needs a CLIP tokenizer, which '{name}' does not have")
    count = len(tokenizer.encode(prompts[0]))
    if count > tokens.shape[1] - 2:
        raise InputError(
            f"text.mode=joint_tokens: the prompt has {count} tokens and '{name}' takes {tokens.shape[1] - 2}; "
            "shorten names with text.label_text or use text.mode=per_class"
        )
    tower = model if hasattr(model, "ln_final") else model.text
    kept: list[Tensor] = []
    handle = tower.ln_final.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    model.encode_text(tokens)
    handle.remove()
    return kept[0][0, 1 : 1 + count].float().numpy()  # without the start and end markers


@torch.no_grad()
def _transformers(config: TextConfig, prompts: list[str]) -> Any:
    import transformers

    _check_local(config.name, "text.name")
    try:
        with fetching(local=_is_local(config.name)):
            tokenizer = transformers.AutoTokenizer.from_pretrained(config.name, trust_remote_code=False)
            model = transformers.AutoModel.from_pretrained(config.name, trust_remote_code=False).eval()
    except Exception as error:  # OSError, ValueError or the hub client's own
        raise _unavailable(config, error) from error
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_special_tokens_mask=True)
    special = batch.pop("special_tokens_mask")
    hidden = model(**batch).last_hidden_state.float()
    if config.mode == "joint_tokens":
        return hidden[0, special[0] == 0].numpy()
    if config.pooling == "cls":
        return hidden[:, 0].numpy()
    mask = batch["attention_mask"][..., None].float()
    return ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).numpy()


def _word_vectors(config: TextConfig, prompts: list[str]) -> Any:
    """Mean vector of each prompt's words, or each word's vector of the joint prompt."""
    words = [re.findall(r"[a-z0-9]+", prompt.lower()) for prompt in prompts]
    vectors = _read_vectors(Path(str(config.name)), {word for prompt in words for word in prompt})
    unknown = sorted({word for prompt in words for word in prompt if word not in vectors})
    if unknown:
        log.warning("%s has no vector for %s", config.name, first_few(unknown))
    rows = [[vectors[word] for word in prompt if word in vectors] for prompt in words]
    for prompt, found in zip(prompts, rows, strict=True):
        if not found:
            raise InputError(f"text.name {config.name} has no vector for any word of '{prompt}'")
    if config.mode == "joint_tokens":
        return np.stack(rows[0])
    return np.stack([np.mean(found, axis=0) for found in rows])


def _read_vectors(path: Path, wanted: set[str]) -> dict[str, npt.NDArray[np.float64]]:
    vectors: dict[str, npt.NDArray[np.float64]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                word, _, numbers = line.rstrip().partition(" ")
                if word.lower() in wanted and word.lower() not in vectors:
                    vectors[word.lower()] = np.array(numbers.split(), dtype=np.float64)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot read the word vectors {path}: {error}; expected text lines 'word x1 x2 …'") from error
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise InputError(f"the word vectors in {path} differ in length")
    return vectors
