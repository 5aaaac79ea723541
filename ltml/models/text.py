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
from textwrap import shorten
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


ALIKE = 1e-4
"""Distance of two embeddings, as a share of the length of one, at most which two prompts count as equal."""
WHOLE = "whole prompts"
"""Part of the cache key that excludes embeddings of truncated prompts, which earlier versions cached."""


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
    """Return one prompt per class, or one that lists all classes (``mode: joint_tokens``).

    Raises:
        InputError: the template lacks {LN}, or ``label_text`` names a label that does not exist or has no text.
    """
    if "{LN}" not in config.template:
        raise InputError(f"text.template '{config.template}' has no {{LN}}, the place of the class name")
    for label in config.label_text:
        if label not in label_names:
            raise InputError(f"text.label_text names the label '{label}': {suggest(label, label_names)}")
        if not config.label_text[label].strip():
            raise InputError(f"text.label_text of '{label}' is empty; give it words, or leave it out for its own name")
    names = [config.label_text.get(name, name) for name in label_names]
    fills = names if config.mode == "per_class" else [", ".join(names)]
    return [config.template.replace("{LN}", fill) for fill in fills]


def embed_prompts(config: TextConfig, label_names: Sequence[str]) -> Tensor | None:
    """Return word embeddings ``(M, D')`` float32 of the class prompts; None for ``encoder: none``.

    Raises:
        InputError: the encoder's name, weights or file are missing or wrong, or it takes no prompt as long as one of
            these.
        LtmlError: weights that are neither local, cached nor reachable.
    """
    if config.encoder == "none":
        return None
    check_encoder(config)
    prompts = make_prompts(config, label_names)
    path = _cache_path(config, prompts)
    if path.is_file():
        embeddings = np.load(path, allow_pickle=False)
        _warn_of_equals(config, label_names, embeddings)
        return torch.from_numpy(embeddings)
    log.info("embedding %d prompt(s) with %s %s", len(prompts), config.encoder, config.name)
    encode = {"open_clip": _open_clip, "transformers": _transformers, "word_vectors": _word_vectors}[config.encoder]
    embeddings = encode(config, prompts).astype(np.float32)
    write_atomically(path, lambda temporary: np.save(temporary, embeddings))
    _warn_of_equals(config, label_names, embeddings)
    return torch.from_numpy(embeddings)


def check_encoder(config: TextConfig) -> None:
    """Check the name and file of an encoder without loading it.

    Raises:
        InputError: it has no name, or there is no word-vector file of that name.
    """
    if config.encoder == "none":
        return
    if config.name is None:
        raise InputError(f"text.encoder={config.encoder} needs text.name: {ENCODERS[config.encoder]}")
    if config.encoder == "word_vectors" and not Path(config.name).is_file():
        raise InputError(f"text.name={config.name}: there is no such file; needed is {ENCODERS[config.encoder]}")


def _warn_of_equals(config: TextConfig, label_names: Sequence[str], embeddings: npt.NDArray[np.float32]) -> None:
    """Warn about classes whose prompts have the same embedding."""
    if config.mode != "per_class":
        return
    rows = embeddings.astype(np.float64)
    gaps = np.linalg.norm(rows[:, None] - rows[None, :], axis=2)
    alike = np.argwhere(np.triu(gaps <= ALIKE * np.linalg.norm(rows, axis=1)[:, None], k=1)).tolist()
    if alike:
        pairs = first_few(f"'{label_names[one]}' and '{label_names[other]}'" for one, other in alike)
        log.warning(
            "text.encoder=%s gives the same embedding to the prompts of %s: it tells them apart by nothing; give them "
            "other words in text.label_text, or take another encoder",
            config.encoder,
            pairs,
        )


def _refuse_long_prompts(config: TextConfig, prompts: Sequence[str], counts: Sequence[int], most: int) -> None:
    """Raise if a prompt has more tokens than an encoder takes, which would truncate it or fail.

    Raises:
        InputError: names the longest one.
    """
    longest = max(range(len(prompts)), key=lambda number: counts[number])
    if counts[longest] <= most:
        return
    joint = config.mode == "joint_tokens"
    remedy = "names with text.label_text or use text.mode=per_class" if joint else "it with text.label_text or template"
    raise InputError(
        f"text.mode={config.mode}: the prompt has {counts[longest]} tokens and '{config.name}' takes {most}; shorten "
        f"{remedy} ('{shorten(prompts[longest], 80, placeholder=' …')}')"
    )


def _cache_path(config: TextConfig, prompts: Sequence[str]) -> Path:
    key = [WHOLE, config.encoder, config.name, config.weights, config.pooling, config.mode, list(prompts)]
    sources = [_file_state(name) for name in (config.name, config.weights)]
    return cache_folder() / "text" / f"{hash_json([key, sources])}.npy"


def _file_state(name: str | None) -> list[tuple[str, int, int]] | None:
    """Return name, size and time of local files, so that another file at the same path has another key."""
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
    """Raise if the weights of a local file or folder would run code when loaded."""
    path = Path(name or "")
    if not name or not path.exists():
        return
    try:
        check_weights(path)
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
    is_clip = isinstance(tokenizer, open_clip.SimpleTokenizer)
    if config.mode != "per_class" and not is_clip:
        raise InputError(f"text.mode=joint_tokens needs a CLIP tokenizer, which '{name}' does not have")
    tokens = tokenizer(prompts)
    markers = 2 if is_clip else 0  # start and end, which a tokenizer of Hugging Face counts itself
    encode = tokenizer.encode if is_clip else lambda prompt: tokenizer.tokenizer(prompt)["input_ids"]
    # Checked before encoding, because the model silently truncates prompts that are too long.
    counts = [len(encode(prompt)) for prompt in prompts]
    _refuse_long_prompts(config, prompts, counts, tokens.shape[1] - markers)
    if config.mode == "per_class":
        return model.encode_text(tokens).float().numpy()
    tower = model if hasattr(model, "ln_final") else model.text
    kept: list[Tensor] = []
    handle = tower.ln_final.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    model.encode_text(tokens)
    handle.remove()
    return kept[0][0, 1 : 1 + counts[0]].float().numpy()  # without the start and end markers


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
    _refuse_long_prompts(config, prompts, list(map(len, tokenizer(prompts)["input_ids"])), _longest(tokenizer, model))
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_special_tokens_mask=True)
    special = batch.pop("special_tokens_mask")
    hidden = model(**batch).last_hidden_state.float()
    if config.mode == "joint_tokens":
        return hidden[0, special[0] == 0].numpy()
    if config.pooling == "cls":
        return hidden[:, 0].numpy()
    mask = batch["attention_mask"][..., None].float()
    return ((hidden * mask).sum(dim=1) / mask.sum(dim=1)).numpy()


def _longest(tokenizer: Any, model: Any) -> int:
    """Return the largest number of tokens that a language model takes; very large if it sets no limit."""
    positions = getattr(model.config, "max_position_embeddings", None) or -1
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    padding = getattr(table, "padding_idx", None)
    first = 0 if padding is None else padding + 1  # RoBERTa numbers from there
    most = int(tokenizer.model_max_length)
    return min(most, positions - first) if positions > 0 else most


def _word_vectors(config: TextConfig, prompts: list[str]) -> Any:
    """Return the mean vector of each prompt's words, or the vector of each word of the joint prompt."""
    words = [re.findall(r"[^\W_]+", prompt.lower()) for prompt in prompts]
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
