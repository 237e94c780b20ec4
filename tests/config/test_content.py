"""An edited data file is other data: another run, another base, and no comparison across."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness import load_results
from harness.analysis.comparison import compare
from harness.analysis.results import load_examples
from harness.config import content
from harness.config.composing import compose
from harness.config.content import digest_data, digest_model
from harness.config.schema import TaskConfig
from harness.records.record import Record, write_record
from harness.sweep import run

Compose = Callable[..., Any]


def write_rows(path: Path, *, shift: int = 0) -> None:
    lines = [f"Ticket number {i},{('bug', 'billing')[(i + shift) % 2]}" for i in range(60)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")


def make(tiny_config: Compose, path: Path, target_set: str, *more: str) -> Any:
    return tiny_config(
        "task=custom",
        "task.name=tickets",
        'task.prompt="{{ text }}\nLabel:"',
        "task.answer=label",
        "task.metric=choice",
        "task.choices=[billing,bug]",
        "latency=off",
        f"task.path={path}",
        f"target_modules={target_set}",
        *more,
    )


def test_the_digest_tells_contents_apart_and_nothing_else(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "folder" / "a.csv"
    second.parent.mkdir()
    write_rows(first)
    write_rows(second)
    assert digest(first) == digest(second)
    (second.parent / "notes.txt").write_text("no data")
    before = digest(second.parent)
    (second.parent / "notes.txt").write_text("still none")
    assert digest(second.parent) == before
    write_rows(second, shift=1)
    assert digest(second) != digest(first)
    assert digest(second.parent) != before
    assert digest(tmp_path / "nothing") is None
    assert digest_data(TaskConfig(source="embedded", path=str(first))) is None
    assert digest_data(TaskConfig(source="hub", dataset=str(second.parent))) is not None


def digest(path: Path) -> str | None:
    return digest_data(TaskConfig(source="local", path=str(path)))


@pytest.mark.parametrize(
    "name", ["train.json", "train.tsv", "train.csv.gz", "data/train-00000-of-00001.parquet"]
)
def test_every_file_that_rows_are_read_from_counts(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"before")
    before = digest(tmp_path)
    file.write_bytes(b"after!")
    assert digest(tmp_path) != before


def test_what_save_to_disk_wrote_counts(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    digests = set()
    for text in ("one", "two"):
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        part = datasets.Dataset.from_list([{"text": text}])
        datasets.DatasetDict({"train": part}).save_to_disk(str(tmp_path / "saved"))
        digests.add(digest(tmp_path / "saved"))
    assert len(digests) == 2


def test_results_beside_the_data_do_not_count(tmp_path: Path) -> None:
    """Data in the folder that the study is written into would be other data after each run."""
    write_rows(tmp_path / "train.csv")
    before = digest(tmp_path)
    (tmp_path / "results" / "runs").mkdir(parents=True)
    for name in ("results/runs/record.json", "results/summary.csv", "results/plot.png"):
        (tmp_path / name).write_text("{}")
    assert digest(tmp_path) == before


def test_images_that_rows_point_to_count_wherever_they_are(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    image = tmp_path / "elsewhere" / "page.bin"
    (tmp_path / "data").mkdir()
    rows = tmp_path / "data" / "train.jsonl"
    rows.write_text(json.dumps({"image": "../elsewhere/page.bin", "ground_truth": "{}"}) + "\n")
    image.write_bytes(b"before")
    before = digest(rows), digest(rows.parent)
    image.write_bytes(b"after!")
    assert digest(rows) != before[0]
    assert digest(rows.parent) != before[1]


def test_one_path_in_three_spellings_is_one_run(
    tiny_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "tickets.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    paths = ("tickets.csv", "./tickets.csv", str(tmp_path / "tickets.csv"), "link/tickets.csv")
    assert len({make(tiny_config, Path(path), "qkv").run_id for path in paths}) == 1
    shutil.copy("tickets.csv", "other.csv")
    (tmp_path / "my_metrics.py").write_text("def score(prediction, answer):\n    return 1\n")
    places = ("", "./", f"{tmp_path}/")
    for name, values in {
        "task.test": [f"{place}other.csv" for place in places],
        "task.metric": [f"{place}my_metrics.py:score" for place in places],
    }.items():
        more = ("task.choices=null",) if name == "task.metric" else ()
        made = [make(tiny_config, Path("tickets.csv"), "qkv", f"{name}={v}", *more) for v in values]
        assert len({each.run_id for each in made}) == 1, name
    explicit = make(tiny_config, Path("tickets.csv"), "qkv", "task.source=local")
    assert explicit.run_id == make(tiny_config, Path("tickets.csv"), "qkv").run_id


def test_a_model_folder_in_two_spellings_is_one_run(
    compose_model: Callable[[str], Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    found = {compose_model(path).run_id for path in ("model", "./model/", str(folder))}
    assert len(found) == 1
    monkeypatch.chdir(folder)
    assert compose_model(".").run_id in found


@pytest.fixture
def compose_model() -> Callable[[str], Any]:
    return lambda path: compose(["model=local", f"model.path={path}"])


def test_after_an_edit_all_is_done_again_and_compared_among_itself(
    tiny_config: Compose, tmp_path: Path
) -> None:
    path = tmp_path / "tickets.csv"
    write_rows(path)
    old = make(tiny_config, path, "o_proj")
    run.run_sweep([old])
    write_rows(path, shift=1)
    new = [make(tiny_config, path, name) for name in ("o_proj", "qkv")]
    assert new[0].run_id != old.run_id
    assert new[0].base_run_id != old.base_run_id
    run.run_sweep(new)
    results = load_results(old.study_folder)
    assert len(results) == 2 + 3
    assert results["dataset"].nunique() == 2
    comparison = compare(results, load_examples(old.study_folder, texts=False))
    assert any("runs differ in metric, scoring or data" in note for note in comparison.notes)


def test_embedded_and_hub_data_have_none(tiny_config: Compose) -> None:
    assert tiny_config("task=fincot").data_digest is None
    assert tiny_config("task=fincot", "task.source=hub").data_digest is None


def test_the_content_of_the_test_rows_is_a_part_of_the_run(
    tiny_config: Compose, tmp_path: Path
) -> None:
    file = tmp_path / "medbullets_op4.jsonl"
    plain = tiny_config("task=medreason")
    ids = {plain.run_id}
    for text in ("{}", "{} "):
        file.write_text(text)
        config = tiny_config("task=medreason", f"task.test={file}")
        assert config.data_digest is not None
        ids |= {config.run_id, config.base_run_id}
    assert len(ids) == 5
    rows = tmp_path / "rows.jsonl"
    rows.write_text("{}")
    local = ("task=medreason", "task.source=local", f"task.path={rows}")
    assert tiny_config(*local).data_digest == digest(rows)
    named = tiny_config(*local, "task.test=medbullets_op4")
    assert named.data_digest == tiny_config(*local, f"task.test={file}").data_digest
    assert named.data_digest != digest(rows)
    # Not set, it is no part of a record, as in records before there was such a setting.
    assert "test" not in plain.as_record()["task"]
    assert named.as_record()["task"]["test"] == "medbullets_op4"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder as far as its digest goes."""
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    save_file({"weight": torch.arange(64.0)}, folder / "model.safetensors")
    decoding = {"eos_token_id": [2, 5], "repetition_penalty": 1.1}
    texts = {
        "config.json": '{"model_type": "llama"}',
        "generation_config.json": json.dumps(decoding),
        "tokenizer.json": "{}",
        "tokenizer_config.json": "{}",
        "merges.txt": "a b",
        "chat_template.jinja": "{{ messages }}",
        "additional_chat_templates/rag.jinja": "{{ documents }}",
        "README.md": "A model.",
        "trainer_state.json": "{}",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *("model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"),
        *("merges.txt", "chat_template.jinja", "additional_chat_templates/rag.jinja"),
    ],
)
def test_whatever_makes_a_model_is_part_of_its_digest(folder: Path, name: str) -> None:
    """A file of the same size and time of modification is told apart by its content."""
    before, file = digest_model(folder), folder / name
    state, whole = file.stat(), file.read_bytes()
    file.write_bytes(whole[:-1] + b"#")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert digest_model(folder) != before
    file.write_bytes(whole)
    assert digest_model(folder) == before
    file.unlink()
    assert digest_model(folder) != before


def test_what_nothing_reads_is_no_part_of_it(folder: Path) -> None:
    before = digest_model(folder)
    (folder / "README.md").write_text("Another text.")
    (folder / "trainer_state.json").write_text('{"step": 1}')
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "config.json").write_text("{}")
    shutil.copy(folder / "model.safetensors", folder / "pytorch_model.bin")
    decoding = {"eos_token_id": [2, 5], "num_beams": 4}
    (folder / "generation_config.json").write_text(json.dumps(decoding))
    assert digest_model(folder) == before
    (folder / "generation_config.json").write_text(json.dumps(decoding | {"eos_token_id": [2]}))
    assert digest_model(folder) != before
    assert digest_model(folder) == digest_model(Path(shutil.copytree(folder, f"{folder}-copy")))


def test_settings_of_decoding_are_a_part_where_they_are_read(folder: Path) -> None:
    before = digest_model(folder, reads_generation=True)
    (folder / "generation_config.json").write_text('{"eos_token_id": [2, 5]}')
    assert digest_model(folder, reads_generation=True) != before


COMMITS = ("1" * 40, "2" * 40)


def test_a_hub_model_is_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that moves on is another model; the commit is in identity, record and revision."""
    hub = tmp_path / "hub" / "models--me--tiny"
    (hub / "refs").mkdir(parents=True)
    for commit in COMMITS:
        (hub / "snapshots" / commit).mkdir(parents=True)
        (hub / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ids = set()
    for commit in COMMITS:
        (hub / "refs" / "main").write_text(commit)
        content.find_commit.cache_clear()
        config = compose(["model=hub", "model.path=me/tiny"])
        assert config.model.revision == commit
        assert config.as_record()["model"]["revision"] == commit
        ids.add(config.run_id)
    assert len(ids) == 2
    given = compose(["model=hub", "model.path=me/tiny", f"model.revision={COMMITS[0]}"])
    assert given.run_id in ids


def test_a_large_file_is_read_once_and_again_when_it_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "LARGE_BYTES", 1)
    reads: list[str] = []
    real = content.hashlib.file_digest

    def counted(stream: Any, algorithm: str) -> Any:
        reads.append(Path(stream.name).name)
        return real(stream, algorithm)

    monkeypatch.setattr(content.hashlib, "file_digest", counted)
    first = digest_model(folder)
    content._digest.cache_clear()  # as in another process
    assert digest_model(folder) == first
    assert reads.count("model.safetensors") == 1
    save_file({"weight": torch.arange(64.0).flip(0)}, folder / "model.safetensors")
    assert digest_model(folder) != first
    assert reads.count("model.safetensors") == 2


def save_model(config: Any, folder: Path) -> None:
    from harness.models.loading import load_model

    loaded = load_model(config.model)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def test_replaced_weights_are_another_model(tiny_config: Compose, tmp_path: Path) -> None:
    """Nothing of the old model is taken for the new one's, and the two are never averaged."""
    folder = tmp_path / "mine"
    save_model(tiny_config(), folder)

    def ask(*target_sets: str) -> list[Any]:
        local = ("model=local", f"model.path={folder}", "model.dtype=float32", "latency=off")
        plain = [f"results_dir={tmp_path / 'results'}", "study=tiny", "task.train_examples=4"]
        sizes = ["task.test_examples=3", "train.batch_size=2", "model.device=cpu"]
        return [compose([*local, *plain, *sizes, f"target_modules={name}"]) for name in target_sets]

    (old,) = ask("o_proj")
    assert ask("o_proj")[0].run_id == old.run_id
    run.run_sweep([old])
    saved = old.study_folder / "runs" / old.run_id / "adapter" / "adapter_config.json"
    assert json.loads(saved.read_text())["revision"] == old.model_digest
    weights = load_file(folder / "model.safetensors")
    save_file(
        {n: w.flip(0) for n, w in weights.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    new = ask("o_proj", "qkv")
    assert new[0].run_id != old.run_id
    assert new[0].base_run_id != old.base_run_id
    assert new[0].group != old.group
    run.run_sweep(new)
    results = load_results(old.study_folder)
    assert results.groupby("model").size().to_dict() == {
        f"mine@{old.model_digest}": 2,
        f"mine@{new[0].model_digest}": 3,
    }
    # What is alone of its name keeps it.
    shutil.rmtree(old.study_folder / "runs" / old.run_id)
    shutil.rmtree(old.study_folder / "runs" / old.base_run_id)
    assert set(load_results(old.study_folder)["model"]) == {"mine"}


def test_hub_data_is_read_at_a_commit_that_the_study_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default branch moves on between two commands of a study."""
    moving = iter(COMMITS)
    asked = []

    def answer(self: Any, name: str, revision: str | None = None) -> Any:
        asked.append((name, revision))
        return SimpleNamespace(sha=next(moving))

    monkeypatch.setattr(content.HfApi, "dataset_info", answer)
    study = [f"results_dir={tmp_path}", "study=one", "task=fincot", "task.dataset=org/set"]
    first = compose_anew(study)
    assert (first.task.source, first.task.revision) == ("hub", COMMITS[0])
    folder = first.study_folder / "runs" / first.run_id
    write_record(folder, Record(first.run_id, "ok", first.as_record()))
    again = compose_anew(study)
    assert again.task.revision == COMMITS[0]
    assert again.run_id == first.run_id
    # Another study begins with what is there today, and a commit that is asked for is read.
    assert compose_anew([*study[:1], "study=two", *study[2:]]).task.revision == COMMITS[1]
    assert asked == [("org/set", None)] * 2


def compose_anew(overrides: list[str]) -> Any:
    content.find_commit.cache_clear()
    content._list_pins.cache_clear()
    return compose(overrides)


def test_without_a_network_the_commit_is_that_of_the_copy_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(content.HfApi, "dataset_info", fail)
    monkeypatch.setattr(content, "HF_HUB_CACHE", str(tmp_path))
    overrides = ["task=fincot", "task.source=hub", "task.dataset=org/set"]
    assert compose_anew(overrides).task.revision is None
    refs = tmp_path / "datasets--org--set" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMITS[0])
    assert compose_anew(overrides).task.revision == COMMITS[0]
