"""Text encoders on tiny random models saved locally, in the formats of the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import transformers

from ltml.errors import InputError, LtmlError
from ltml.models import text
from ltml.models.text import TextConfig, embed_prompts, make_prompts

LABELS = ("Mass", "Pleural_Thickening")


def config(encoder: str, name: str | None = None, weights: str | None = None, **changes: object) -> TextConfig:
    values: dict[str, object] = {
        "pooling": "cls", "mode": "per_class", "template": "an image of {LN}", "label_text": {},
    }  # fmt: skip
    return TextConfig(encoder, name, weights, **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tiny open_clip model: its registered name and a checkpoint."""
    folder = tmp_path_factory.mktemp("clip")
    settings = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "tiny-clip.json").write_text(json.dumps(settings))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-clip").state_dict(), folder / "clip.pt")
    return "tiny-clip", str(folder / "clip.pt")


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "an", "image", "of", "mass", "pleural", "thick"]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.BertModel(settings).save_pretrained(folder)
    return str(folder)


def test_prompts_fill_in_the_label_text() -> None:
    named = config("none", label_text={"Pleural_Thickening": "pleural thickening"})
    assert make_prompts(named, LABELS) == ["an image of Mass", "an image of pleural thickening"]
    joint = config("none", mode="joint_tokens")
    assert make_prompts(joint, LABELS) == ["an image of Mass, Pleural_Thickening"]
    with pytest.raises(InputError, match="has no {LN}"):
        make_prompts(config("none", template="nothing"), LABELS)
    for empty in ("", " \t"):
        with pytest.raises(InputError, match=r"text.label_text of 'Mass' is empty"):
            make_prompts(config("none", label_text={"Mass": empty}), LABELS)
    with pytest.raises(InputError, match=r"'mass': did you mean 'Mass'"):
        make_prompts(config("none", label_text={"mass": "x"}), LABELS)


def test_open_clip_per_class_is_encode_text(clip_weights: tuple[str, str]) -> None:
    embeddings = embed_prompts(config("open_clip", *clip_weights), LABELS)
    model = open_clip.create_model(clip_weights[0], pretrained=clip_weights[1]).eval()
    tokens = open_clip.get_tokenizer(clip_weights[0])(["an image of Mass", "an image of Pleural_Thickening"])
    with torch.no_grad():
        torch.testing.assert_close(embeddings, model.encode_text(tokens))


def test_open_clip_joint_tokens_are_those_of_one_prompt(clip_weights: tuple[str, str]) -> None:
    embeddings = embed_prompts(config("open_clip", *clip_weights, mode="joint_tokens"), LABELS)
    count = len(open_clip.get_tokenizer(clip_weights[0]).encode("an image of Mass, Pleural_Thickening"))
    assert embeddings is not None
    assert embeddings.shape == (count, 16)
    with pytest.raises(InputError, match="tokens and 'tiny-clip' takes 22"):
        embed_prompts(config("open_clip", *clip_weights, mode="joint_tokens"), [f"finding {i}" for i in range(20)])


@pytest.mark.parametrize("mode", ["per_class", "joint_tokens"])
def test_open_clip_refuses_prompts_that_it_would_cut(clip_weights: tuple[str, str], mode: str) -> None:
    text_ = "density without a sharp border " * 5
    count = len(open_clip.get_tokenizer(clip_weights[0]).encode(f"an image of {text_}"))
    long = {"Pleural_Thickening": text_}
    joint = 2 if mode == "joint_tokens" else 0  # "Mass,"
    with pytest.raises(InputError, match=rf"the prompt has {count + joint} tokens and 'tiny-clip' takes 22; shorten"):
        embed_prompts(config("open_clip", *clip_weights, mode=mode, label_text=long), LABELS)


def test_open_clip_takes_prompts_up_to_its_length(clip_weights: tuple[str, str]) -> None:
    tokenizer, long = open_clip.get_tokenizer(clip_weights[0]), "density density"
    while len(tokenizer.encode(f"an image of {long}")) < 22:
        long += " a"
    whole = config("open_clip", *clip_weights, label_text={"Mass": long})
    assert embed_prompts(whole, LABELS) is not None
    with pytest.raises(InputError, match="has 23 tokens and 'tiny-clip' takes 22"):
        embed_prompts(config("open_clip", *clip_weights, label_text={"Mass": long + " a"}), LABELS)


def test_transformers_refuse_prompts_longer_than_their_positions(tmp_path: Path, bert_folder: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert_folder)
    kinds = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}
    for kind, most, limit in (("bert", 12, None), ("roberta", 10, None), ("bert", 8, 8)):
        folder = tmp_path / f"{kind}{most}"
        settings = kinds[kind](
            vocab_size=11, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=12, pad_token_id=1 if kind == "roberta" else 0,
        )  # fmt: skip
        transformers.AutoModel.from_config(settings).save_pretrained(folder)
        tokenizer.model_max_length = limit or 10**30
        tokenizer.save_pretrained(folder)
        fits = {"mass": " ".join(["mass"] * (most - 5))}  # an image of, and two markers
        assert embed_prompts(config("transformers", str(folder), label_text=fits), ("mass", "thick")) is not None
        for mode in ("per_class", "joint_tokens"):
            over = config("transformers", str(folder), mode=mode, label_text={"mass": fits["mass"] + " mass"})
            with pytest.raises(InputError, match=rf"the prompt has \d+ tokens and .* takes {most}; shorten"):
                embed_prompts(over, ("mass", "thick"))


def test_classes_that_the_encoder_does_not_tell_apart_are_named(
    bert_folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two words that the vocabulary lacks, and one word vector twice; also where embeddings come from the cache."""
    file = tmp_path / "vectors.txt"
    file.write_text("image 1 2\nmass 3 4\nnodule 3.0001 4\nedema 9 1\n")
    for _ in range(2):
        caplog.clear()
        embed_prompts(config("transformers", bert_folder, pooling="mean"), ("mass", "hernia", "edema"))
        assert "same embedding to the prompts of 'hernia' and 'edema'" in caplog.text
        caplog.clear()
        embed_prompts(config("word_vectors", str(file)), ("mass", "nodule", "edema"))
        assert "same embedding to the prompts of 'mass' and 'nodule'" in caplog.text
    caplog.clear()
    embed_prompts(config("word_vectors", str(file)), ("mass", "edema"))
    embed_prompts(config("word_vectors", str(file), mode="joint_tokens"), ("mass", "mass"))
    assert "same embedding" not in caplog.text


def test_words_in_other_scripts_are_words(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("hämatom 1 2\n腫瘤 3 4\n", encoding="utf-8")
    embeddings = embed_prompts(config("word_vectors", str(file), template="{LN}"), ("Hämatom", "腫瘤"))
    np.testing.assert_allclose(embeddings, [[1, 2], [3, 4]])


def test_transformers_pool_by_cls_or_mean(bert_folder: str) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert_folder)
    model = transformers.AutoModel.from_pretrained(bert_folder).eval()
    labels = ("mass", "pleural thick")
    for pooling in ("cls", "mean"):
        embeddings = embed_prompts(config("transformers", bert_folder, pooling=pooling), labels)
        assert embeddings is not None
        for row, label in zip(embeddings, labels, strict=True):  # one prompt at a time: no padding involved
            with torch.no_grad():
                hidden = model(**tokenizer(f"an image of {label}", return_tensors="pt")).last_hidden_state[0]
            expected = hidden[0] if pooling == "cls" else hidden.mean(dim=0)
            torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-5)
    joint = embed_prompts(config("transformers", bert_folder, mode="joint_tokens"), labels)
    assert joint is not None
    assert joint.shape == (len(tokenizer("an image of mass, pleural thick")["input_ids"]) - 2, 16)


def test_word_vectors_are_averaged(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("4 2\nmass 1 2\nimage 3 4\nPleural 5 6\nother 7 8\n")
    embeddings = embed_prompts(config("word_vectors", str(file)), LABELS)
    np.testing.assert_allclose(embeddings, [[2, 3], [4, 5]])
    with pytest.raises(InputError, match="no vector for any word"):
        embed_prompts(config("word_vectors", str(file), template="{LN}"), ("edema",))


def test_embeddings_are_cached_by_encoder_and_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("mass 1 2\nimage 3 4\npleural 5 6\n")
    calls = []
    original = text._read_vectors
    monkeypatch.setattr(text, "_read_vectors", lambda *args: calls.append(1) or original(*args))
    for _ in range(2):
        embed_prompts(config("word_vectors", str(file)), LABELS)
    assert len(calls) == 1
    embed_prompts(config("word_vectors", str(file), template="a {LN}"), LABELS)
    assert len(calls) == 2
    file.write_text("mass 9 9\nimage 3 4\npleural 5 6 \n")  # another file at the same path
    assert embed_prompts(config("word_vectors", str(file)), LABELS)[0].tolist() == [6, 6.5]  # type: ignore[index]


def test_what_is_missing_is_said(clip_weights: tuple[str, str], tmp_path: Path) -> None:
    assert embed_prompts(config("none"), LABELS) is None
    with pytest.raises(InputError, match=r"needs text.name"):
        embed_prompts(config("open_clip"), LABELS)
    with pytest.raises(InputError, match=r"needs text.weights"):
        embed_prompts(config("open_clip", clip_weights[0]), LABELS)
    with pytest.raises(InputError, match="unknown open_clip model 'ViT-B-31': did you mean .*'ViT-B-32'"):
        embed_prompts(config("open_clip", "ViT-B-31", "openai"), LABELS)
    with pytest.raises(LtmlError, match=r"cannot load the text encoder transformers"):
        embed_prompts(config("transformers", str(tmp_path / "nothing")), LABELS)
    with pytest.raises(InputError, match=r"text.name=.*nothing: there is no such file; needed is a word-vector file"):
        embed_prompts(config("word_vectors", str(tmp_path / "nothing")), LABELS)
    (tmp_path / "binary").write_bytes(b"mass \xff\xfe")
    with pytest.raises(InputError, match="cannot read the word vectors"):
        embed_prompts(config("word_vectors", str(tmp_path / "binary")), LABELS)
