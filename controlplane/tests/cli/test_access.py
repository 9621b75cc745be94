"""dfvctl access and --credentials: a closed database through the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from dfvisor.cli.access import load_access
from dfvisor.cli.main import main
from dfvisor.errors import DescriptionError

pytestmark = pytest.mark.zk

EXAMPLES = Path(__file__).parents[3] / "examples"
Ctl = Callable[..., tuple[int, str, str]]

GRANTS = """
grants:
  red: {tenant: red, keys: [70000-70099]}
"""
MORE = "vns: {red: {flowspaces: {more: {priority: 7, slice: gold, match: {ip_proto: icmp}}}}}\n"


@pytest.fixture
def ctl(zookeeper: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ctl:
    """Run a command, with the standard input given: exit code, standard output, standard error."""
    monkeypatch.setenv("DFVISOR_ZOOKEEPER", zookeeper)
    monkeypatch.delenv("DFVISOR_CREDENTIALS", raising=False)

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_tenant_changes_its_network_in_a_closed_database_and_nothing_else(
    ctl: Ctl, tmp_path: Path
) -> None:
    ids = {}
    for user in ("admin", "red", "vnc", "s1"):
        (tmp_path / f"{user}.yaml").write_text(
            f"role: {'provider' if user == 'admin' else 'tenant'}\n"
            f"digest: {{user: {user}, password: secret-{user}}}\n"
        )
        code, out, _ = ctl("access", "id", user, stdin=f"secret-{user}\n")
        assert code == 0
        ids[user] = out.strip()
    access, grants, more = (tmp_path / name for name in ("access.yaml", "grants.yaml", "more.yaml"))
    access.write_text(
        f"provider: {ids['admin']}\ncontrollers: [{ids['vnc']}]\n"
        f"agents: {{s1: {ids['s1']}}}\ntenants: {{red: [{ids['red']}]}}\n"
    )
    grants.write_text(GRANTS)
    more.write_text(MORE)
    admin, red = (("--credentials", str(tmp_path / f"{user}.yaml")) for user in ("admin", "red"))
    assert ctl("apply", str(EXAMPLES / "demo.yaml"))[0] == 0
    assert ctl("apply", str(grants))[0] == 0
    code, _, err = ctl(*red, "access", "close", str(access))
    assert code == 1 and "none of those that the list names as the provider's" in err
    code, out, err = ctl(*admin, "access", "close", str(access))
    assert code == 0 and "nodes have their access control lists" in out, err

    code, out, err = ctl(*red, "apply", str(more))
    assert (code, err) == (0, "") and "created   flowspace red/more" in out
    code, _, err = ctl(*red, "apply", str(EXAMPLES / "add-slice.yaml"))
    assert (code, err) == (0, "")
    for file, what in (("blue", "vns: {blue: {learning: true}}"), ("t", "tenants: {x: {}}")):
        (tmp_path / file).write_text(what)
        code, _, err = ctl(*red, "apply", str(tmp_path / file))
        assert code == 1 and "not allowed with these credentials" in err
    code, _, err = ctl(*red, "delete", "vn", "red")
    assert code == 1 and "not allowed with these credentials" in err
    code, _, err = ctl("apply", str(more.with_name("t")))
    assert code == 1 and "not allowed with these credentials" in err

    code, out, _ = ctl(*admin, "access", "show")
    again = tmp_path / "again.yaml"
    again.write_text(out)
    assert load_access(again) == load_access(access)
    assert ctl(*admin, "access", "close")[0] == 0
    assert ctl(*admin, "delete", "vn", "red")[0] == 0
    assert ctl(*red, "access", "show")[0] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("controllers: []", "provider is missing"),
        ("provider: []", "provider: nobody could change anything any more"),
        ("provider: CN=x", "'CN=x' is not like x509:CN=red"),
        ("provider: 'ldap:x'", "'ldap:x' is not like"),
        ("provider: x509:CN=a\nagents: {'a b': x509:CN=b}", "'a b' is no name"),
        ("provider: x509:CN=a\ntenant: x", "did you mean 'tenants'"),
    ],
)
def test_mistake_in_an_access_file_is_reported(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "access.yaml"
    file.write_text(text)
    with pytest.raises(DescriptionError) as caught:
        load_access(file)
    assert message in str(caught.value)


def test_database_is_exported_and_imported(ctl: Ctl, zookeeper: str, tmp_path: Path) -> None:
    file = tmp_path / "copy.json"
    ctl("apply", str(EXAMPLES / "demo.yaml"))
    assert ctl("export", str(file)) == (0, f"{file}: written\n", "")
    assert file.stat().st_mode & 0o77 == 0
    code, _, err = ctl("import", str(file))
    assert code == 1 and "not empty" in err
    before = ctl("get", "-o", "json")[1]
    ctl("delete", "vn", "red")
    code, out, _ = ctl("import", "--replace", str(file))
    assert code == 0 and "the database has epoch 1" in out
    assert ctl("get", "-o", "json")[1] == before
    elsewhere = ("--zookeeper", f"{zookeeper}-2")
    code, out, _ = ctl(*elsewhere, "import", str(file))
    assert code == 0 and "vn red: revision 1000001" in out
    assert ctl(*elsewhere, "get", "-o", "json")[1] == before
    file.write_text("{}")
    code, _, err = ctl("import", "--replace", str(file))
    assert code == 1 and "not an export of DFVisor" in err


def test_schema_is_printed_without_a_database(ctl: Ctl) -> None:
    code, out, _ = ctl("--zookeeper", "127.0.0.1:1/none", "schema")
    assert code == 0 and "vns" in json.loads(out)["properties"]


def test_commands_of_the_readme_work_as_printed(
    ctl: Ctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (EXAMPLES.parent / "README.md").read_text().split("<!-- trust -->")[1]
    section = section.split("<!-- /trust -->")[0]
    lines = [line for line in section.splitlines() if line.startswith(".venv/bin/dfvctl ")]
    assert len(lines) == 6
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    for line in lines:
        command, _, file = line.partition("#")[0].partition(">")
        code, out, err = ctl(*command.split()[1:])
        assert (code, err) == (0, ""), line
        if file:
            Path(file.strip()).write_text(out)
    assert json.loads((tmp_path / "dfvisor.schema.json").read_text())["title"]
    assert json.loads(ctl("get", "-o", "json")[1])["grants"]["red"]["max_rate"] == "100mbit"
