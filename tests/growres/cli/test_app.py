"""What all commands share: help, errors as messages, exit codes, nothing heavy before it is needed."""

import os
import subprocess
import sys

import pytest

import growres as package
from growres.cli import experiments
from growres.cli.app import main
from growres.errors import ClusterError, ConfigError, SchemaMismatchError, SpecError
from zoo import ModelError

HEAVY = ("torch", "ray", "sqlalchemy", "pydantic", "yaml", "datasets", "alembic", "numpy", "scipy", "rich")


def run_python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)


def test_importing_the_command_line_imports_nothing_heavy():
    done = run_python(f"import sys, growres.cli.app; print([name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout.strip() == "[]", done.stderr


def test_help_needs_neither_torch_nor_ray_nor_the_store():
    code = (
        "import sys; from growres.cli.app import main; code = main(['--help']); "
        "print(code, [name for name in ('torch', 'ray', 'sqlalchemy') if name in sys.modules])"
    )
    done = run_python(code)
    assert done.stdout.rstrip().endswith("0 []"), done.stderr


@pytest.mark.embedded
@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        (["list"], 0),
        (["status"], 0),
        (["stop"], 0),
        (["resume", "none"], 2),
        (["submit", "digits", "--backend", "cluster"], 2),
    ],
    ids=["list", "status", "stop", "resume of what is not there", "submit without an address"],
)
def test_what_only_asks_the_store_does_not_wait_for_torch(command: list[str], exit_code: int, trained: str) -> None:
    code = (
        f"import sys; from growres.cli.app import main; code = main({command!r}); "
        "print(code, [name for name in ('torch', 'ray') if name in sys.modules])"
    )
    done = run_python(code)
    assert done.stdout.rstrip().endswith(f"{exit_code} []"), done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "submit",
        "resume",
        "validate",
        "schema",
        "list",
        "status",
        "results",
        "show",
        "analyze",
        "query",
        "power",
        "doctor",
    ]
    + ["db upgrade", "db current", "db check", "db backup", "db copy", "db reader-sql"]
    + ["zoo list", "data list", "data show", "predict", "export"],
)
def test_every_command_has_help(growres, command):
    answer = growres(*command.split(), "--help")
    assert answer.code == 0
    assert "Usage" in answer.out and answer.err == ""


def test_the_version_is_the_packages(growres):
    assert growres("--version").out == f"growres {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "growres: No such command 'nope'. See: growres --help\n"),
        (["resluts"], "Did you mean 'results'"),
        (["results", "--by", "moon"], "'moon' is not one of 'trial', 'variant'. See: growres results --help\n"),
        (["results", "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv', 'md'"),
        (["submit"], "Missing argument 'SPEC'"),
        (["submit", "digits", "--backend", "cluster"], "Cannot submit to a cluster without its address"),
        (["submit", "digits", "--backend", "inline", "--address", "auto"], "The backend inline starts no Ray"),
        (["status", "--watch", "--format", "json"], "leave --format out, or --watch"),
        (["query", "select 1", "--limit", "0"], "--limit"),
    ],
)
def test_a_usage_error_is_one_line_on_stderr(growres, arguments, message):
    answer = growres(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert message in answer.err
    assert answer.err.count("\n") == 1


def test_a_bare_call_prints_the_help_and_no_error(growres):
    answer = growres()
    assert answer.code == 2
    assert "submit" in answer.out + answer.err
    assert "growres: " not in answer.err.replace("growres submit", "")


@pytest.mark.parametrize(
    ("error", "code", "printed"),
    [
        (SpecError("a.yaml:3:5: seeds: wrong\na.yaml:9:1: name: missing"), 2, None),
        (SpecError("a.yaml:3:5: seeds: no\n--set x=1: no"), 2, "a.yaml:3:5: seeds: no\ngrowres: --set x=1: no\n"),
        (ConfigError("no such folder"), 2, "growres: no such folder\n"),
        (SchemaMismatchError("too new"), 4, "growres: too new\n"),
        (ClusterError("away"), 3, "growres: away\n"),
        (ModelError("no such network"), 2, "growres: no such network\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_message_and_its_exit_code(growres, monkeypatch, error, code, printed):
    def fail():
        raise error

    monkeypatch.setattr(experiments, "open_store", fail)
    answer = growres("list")
    assert answer.code == code
    assert answer.out == ""
    assert answer.err == (f"{error}\n" if printed is None else printed)


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail():
        raise ValueError("a bug of ours")

    monkeypatch.setattr(experiments, "open_store", fail)
    with pytest.raises(ValueError, match="a bug of ours"):
        main(["list"])


def test_a_bug_shows_no_local_variables(tmp_path):
    code = (
        "import sys; from growres.cli import experiments\n"
        "def fail():\n    password = 's' + '3cret'; raise ValueError('a bug')\n"
        "experiments.open_store = fail\n"
        "from growres.cli.app import main; main(['list'])"
    )
    done = run_python(code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: a bug" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("length", ["3", "30000"])
def test_a_reader_that_leaves_early_causes_no_noise(experiment, length):
    read_end, write_end = os.pipe()
    os.close(read_end)
    sql = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {length}) select i from n"
    code = f"import sys; from growres.cli.app import main; sys.exit(main(['query', {sql!r}, '--limit', '{length}']))"
    done = subprocess.run([sys.executable, "-c", code], stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(write_end)
    assert done.stderr == ""


def test_a_narrow_encoding_loses_no_line(experiment):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    code = "import sys; from growres.cli.app import main; sys.exit(main(['query', \"select 'Größe' as n\"]))"
    done = run_python(code, env=environment)
    assert (done.returncode, done.stdout) == (0, "n\nGr\\xf6\\xdfe\n")


@pytest.mark.embedded
def test_verbose_logs_on_stderr(growres, home):
    answer = growres("-v", "db", "upgrade")
    assert "INFO growres.store.migration" in answer.err
    assert answer.out == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("224x224", "must be a whole number (seen '224x224')"),
        ("0", "must be at least 1 (seen '0')"),
        ("9999", "must be at most 4096 (seen '9999')"),
    ],
)
def test_an_options_value_is_refused_in_our_words(growres, value, words):
    answer = growres("zoo", "show", "vgg16", "--image-size", value)
    assert answer.code == 2
    assert answer.err == f"growres: Invalid value for '--image-size': {words}. See: growres zoo show --help\n"
