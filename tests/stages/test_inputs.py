"""What a stage 1 starts from is looked for before anything is trained, and all that is missing is named at once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltml.models import hub
from ltml.models.backbones import Backbone
from ltml.models.hub import can_fetch, fetching
from ltml.recipe.load import load_recipe
from ltml.stages.inputs import missing_inputs

ENCODER = ("head.type=prompt_query", "text.encoder=transformers", "text.name=someone/encoder")
PRETRAINED = ("backbone.pretrained=true", "backbone.options={}")


@pytest.fixture
def no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing is cached and no hub answers."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "_responds", lambda: False)


@pytest.fixture
def count_requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to open a connection, none of which succeeds."""
    tried: list[str] = []

    def refuse(address: Any, *_: object, **__: object) -> None:
        tried.append(str(address))
        raise OSError("no network")

    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return tried


def test_all_that_is_missing_is_one_message_without_a_retry(
    no_hub: None, count_requests: list[str], cli: Callable, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    result = cli("run", "digits_tiny", *PRETRAINED, *ENCODER, "--out", tmp_path / "runs")
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "2 things are neither local nor reachable" in errors[0]
    for part in ("backbone 'resnet", "backbone.weights=FILE", "'someone/encoder'", "text.encoder=none", "HF_HOME"):
        assert errors[0].count(part) == 1
    assert len(errors[0]) <= 600
    assert result.stdout == ""
    assert capfd.readouterr() == ("", "")  # of the libraries
    assert count_requests == []
    assert not (tmp_path / "runs").exists()


def test_a_run_to_start_from_and_vectors_are_named_together(cli: Callable, tmp_path: Path) -> None:
    vectors = ("head.type=prompt_query", "text.encoder=word_vectors", f"text.name={tmp_path / 'none.txt'}")
    result = cli("run", "digits_tiny", f"init_from={tmp_path / 'nothing'}", *vectors, "--out", tmp_path / "runs")
    assert result.exit_code == 2
    for part in ("2 things are missing: (1) init_from: ", "nothing is not a run", "(2) text.name=", "no such file"):
        assert part in result.stderr
    result = cli("run", "digits_tiny", f"backbone.weights={tmp_path / 'none.pth'}", *vectors, "--out", tmp_path)
    assert result.exit_code == 2
    assert "none.pth is not a file; (2) text.name=" in result.stderr


def test_the_needs_of_all_rows_come_before_the_first_run(
    no_hub: None, count_requests: list[str], cli: Callable, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "data: {digits: {recipe: digits_tiny}}\n"
        "rows:\n- {name: plain, method: bce}\n"
        "- {name: pretrained, method: bce, set: {backbone.pretrained: true, backbone.options: {}}}\n"
        "- {name: words, set: {text.encoder: transformers, text.name: someone/encoder}}\n"
    )
    result = cli("compare", file, "--seeds", "0..1", "--out", tmp_path / "runs")
    assert result.exit_code == 1, result.output
    assert "2 things are neither local nor reachable" in result.stderr
    assert not (tmp_path / "runs").exists()
    assert count_requests == []


def test_embeddings_in_the_cache_need_no_encoder(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("digits_tiny", ENCODER)
    names = ("a", "b")
    assert [error.what for error in missing_inputs(recipe, lambda: names)] == [  # type: ignore[attr-defined]
        "load the text encoder transformers 'someone/encoder' (weights: None)"
    ]
    with monkeypatch.context() as patched:
        patched.setattr("ltml.models.text._transformers", lambda _, prompts: np.ones((len(prompts), 3)))
        assert missing_inputs(recipe, lambda: names) == []
    assert missing_inputs(recipe, lambda: names) == []


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A hub that refuses everything, which is an answer."""

    class Refuse(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(403)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refuse)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_hub_is_asked_once(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    hub._responds.cache_clear()
    assert can_fetch()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert can_fetch()  # decided
    hub._responds.cache_clear()
    assert not can_fetch()
    hub._responds.cache_clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(hub, "_responds", lambda: pytest.fail("asked although it is offline"))
    assert not can_fetch()


def test_what_is_changed_for_the_libraries_is_put_back(no_hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    logging.getLogger("timm").setLevel(logging.INFO)
    block = fetching()
    block.__enter__()
    assert constants.HF_HUB_OFFLINE
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not logging.getLogger("timm.models._hub").isEnabledFor(logging.WARNING)
    assert block.__exit__(RuntimeError, RuntimeError(), None) is False
    assert not constants.HF_HUB_OFFLINE
    assert "HF_HUB_OFFLINE" not in os.environ
    assert logging.getLogger("timm").level == logging.INFO
    logging.getLogger("timm").setLevel(logging.NOTSET)
    with fetching(local=True):
        assert not constants.HF_HUB_OFFLINE


def test_libraries_say_nothing_of_what_is_raised(no_hub: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(hub.NotHereError):
        Backbone("resnet18", image_size=32, pretrained=True)
    assert {record.name.partition(".")[0] for record in caplog.records} <= {"ltml"}
