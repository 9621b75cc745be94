"""Every write that a credential may not make is refused by the server; those it may are made."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dfvisor.cli import pki
from dfvisor.errors import DescriptionError, StoreError, StoreUnavailable
from dfvisor.model.description import load_network
from dfvisor.model.grants import Grant, Span
from dfvisor.store import layout
from dfvisor.store.acl import Access, Principal, acl_of, digest_id
from dfvisor.store.credentials import Credentials, Login, Role, Tls, load
from dfvisor.store.database import GlobalDatabase
from dfvisor.store.stats import AgentInfo, Applied, Counter, SwitchStats, VnApplied
from dfvisor.store.zk import (
    Check,
    Create,
    Delete,
    Forbidden,
    NodeExists,
    Set,
    ZooKeeper,
)
from emulation.zookeeper import Ensemble, ZooKeeperServer
from emulation.zookeeper import Tls as ServerTls

from controlplane.tests.store.harness import until

pytestmark = pytest.mark.zk

DEMO = load_network(Path(__file__).parents[3] / "examples" / "demo.yaml")
RED, BLUE = DEMO.vns["red"], DEMO.vns["blue"]
INFO = AgentInfo(slicer="127.0.0.1:1", target="bmv2", pid=1)
ROLES = {
    "provider": Role.PROVIDER,
    "vnc": Role.CONTROLLER,
    "red": Role.TENANT,
    "blue": Role.TENANT,
    "s1": Role.AGENT,
    "s2": Role.AGENT,
}


class Place:
    """A closed database, and sessions with it under any of the names."""

    def __init__(self, address: str, credentials: dict[str, Credentials], access: Access) -> None:
        self.address = address
        self.credentials = credentials
        self.access = access
        self._stack = contextlib.AsyncExitStack()
        self._open: dict[str, GlobalDatabase] = {}

    async def __aenter__(self) -> Place:
        provider = await self.session("provider")
        await provider.apply_fabric(await provider.read_fabric(), DEMO.fabric, DEMO.tenants)
        snapshot = await provider.read_network()
        grants = {
            "red": Grant(vn="red", tenant="red", keys=(Span(70000, 70099),)),
            "blue": Grant(vn="blue", tenant="blue", keys=(Span(80000, 80099),)),
        }
        await provider.apply_grants(snapshot, grants)
        await provider.apply(None, BLUE)  # before it is closed
        await provider.close_tree(self.access)
        await provider.apply(None, RED)  # afterwards
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def session(self, name: str) -> GlobalDatabase:
        if name not in self._open:
            self._open[name] = await self._stack.enter_async_context(
                await GlobalDatabase.connect(self.address, credentials=self.credentials[name])
            )
        return self._open[name]

    async def raw(self, name: str) -> ZooKeeper:
        """Without any of our own rules: as somebody with the credential and a program of his."""
        zk = await ZooKeeper(self.address, credentials=self.credentials[name]).start()
        self._stack.push_async_callback(zk.close)
        return zk


def by_digest() -> tuple[dict[str, Credentials], Access]:
    logins = {name: Login(user=name, password=f"secret-{name}") for name in ROLES}
    ids = {
        name: (Principal("digest", digest_id(login.user, login.password)),)
        for name, login in logins.items()
    }
    access = Access(
        provider=ids["provider"],
        controllers=ids["vnc"],
        agents={"s1": ids["s1"], "s2": ids["s2"]},
        tenants={"red": ids["red"], "blue": ids["blue"]},
    )
    return {
        name: Credentials(role=ROLES[name], digest=login) for name, login in logins.items()
    }, access


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    pki.init(folder)
    pki.issue(folder, "server", hosts=["127.0.0.1"])
    (folder / "server.identity").write_text(
        (folder / "server.pem").read_text() + (folder / "server.key").read_text()
    )
    for name in ROLES:
        pki.issue(folder, name)
    return folder


@pytest.fixture(scope="module")
def tls_server(authority: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    tls = ServerTls(authorities=authority / "ca.pem", identity=authority / "server.identity")
    with ZooKeeperServer(tmp_path_factory.mktemp("tls"), tls=tls) as server:
        yield server.address


def by_certificate(authority: Path) -> tuple[dict[str, Credentials], Access]:
    def certificate(name: str) -> tuple[Principal, ...]:
        return (Principal("x509", f"CN={name},O=DFVisor"),)

    access = Access(
        provider=certificate("provider"),
        controllers=certificate("vnc"),
        agents={"*": certificate("{switch}")},
        tenants={"*": certificate("{tenant}")},
    )
    found = {}
    for name, role in ROLES.items():
        file = authority / f"{name}.yaml"
        file.write_text(
            f"role: {role}\n"
            f"tls: {{authorities: ca.pem, certificate: {name}.pem, key: {name}.key}}\n"
        )
        found[name] = load(file)
    return found, access


@pytest.fixture(params=["digest", "x509"])
async def place(
    request: pytest.FixtureRequest, zookeeper: str, authority: Path
) -> AsyncIterator[Place]:
    if request.param == "digest":
        async with Place(zookeeper, *by_digest()) as found:
            yield found
    else:
        server: str = request.getfixturevalue("tls_server")
        chroot = zookeeper.partition("/")[2]
        async with Place(f"{server}/{chroot}", *by_certificate(authority)) as found:
            yield found


async def test_what_each_credential_is_for_is_allowed(place: Place) -> None:
    """Through all that our own programs do."""
    provider, red = await place.session("provider"), await place.session("red")
    vnc, s1 = await place.session("vnc"), await place.session("s1")
    told: list[int] = []
    await vnc.watch_agents(lambda: told.append(1))
    for vn in (RED, BLUE):
        owner = await place.session(vn.tenant)
        base = await owner.read_vn(vn.name)
        assert base is not None
        for number in range(3):
            base = await owner.apply(base, replace(base.vn, learning=not number % 2))
        assert base.revision == 4
        ownership = await vnc.contend(vn.name, "vnc-1", lambda: None)
        await vnc.claim(ownership)
        await vnc.activate(ownership, base.revision)
        active = await provider.read_active(vn.name)
        assert active is not None and (active.revision, active.leader) == (4, "vnc-1")
        await vnc.set_presence(vn.name, ["s1", "s2"])
        assert vn.name in await s1.read_present("s2")
        await ownership.release()
    for name in ("s1", "s2"):
        agent = await place.session(name)
        await agent.register_agent(name, INFO)
        await agent.publish_applied(name, Applied(vns={"red": VnApplied(revision=1)}))
        for count in (2500, 10, 1500):  # pages come and go
            reading = SwitchStats(switch=name, at=float(count), counters=(COUNTER,) * count)
            await agent.publish_stats(reading)
            assert await red.read_stats(name) == reading
    await until(lambda: bool(told), "the VN controller is told of agents")
    assert set(await vnc.read_agents()) == {"s1", "s2"}
    assert set(await provider.read_applied()) >= {"s1", "s2"}
    base = await provider.read_vn("red")
    assert base is not None
    base = await provider.apply(base, replace(base.vn, tenant="blue"))
    with pytest.raises(Forbidden):
        await red.apply(base, replace(base.vn, learning=not base.vn.learning))
    await provider.delete_vn(base)
    assert await provider.read_access() == place.access


COUNTER = Counter(table="flow", vn="red", kind="slice", name="gold", packets=1, bytes=1)

Attempt = Callable[[ZooKeeper], Awaitable[object]]


def _set(path: str) -> Attempt:
    return lambda zk: zk.set(path, b"{}")


def _create(path: str, **options: bool) -> Attempt:
    return lambda zk: zk.create(path, b"{}", **options)


def _delete(path: str) -> Attempt:
    return lambda zk: zk.delete(path)


PROVIDERS = [
    _set("/switches/s1"),
    _delete("/switches/s1"),
    _create("/switches/s9"),
    _create("/links/x"),
    _create("/peers/x"),
    _create("/tenants/x"),
    _set("/fabric/revision"),
    _set("/fabric/grants"),
    _set("/fabric/keys"),
    _set("/fabric/access"),
    _create("/fabric/epoch"),
    _set("/grants/red"),
    _delete("/grants/blue"),
    _create("/grants/x"),
    _create("/keys/5"),
    _set("/keys"),
    _create("/vns/x"),
    _delete("/vns/red/revision"),
    _delete("/vns/red/active"),
    _create("/vns/red/more"),
    _create("/retired/x"),
    _create("/history/x"),
    _delete("/live/agents/s1"),
    _create("/live/agents/s9"),
    _create("/applied/s9"),
    _delete("/applied/s1"),
    _create("/stats/s9"),
    _create("/more"),
    _delete("/vns"),
    _set("/down"),
    _delete("/seen/s1"),
]
OF_RED = [
    _set("/vns/red/revision"),
    _create("/vns/red/pages/1.x-0"),
    _create("/history/red/0000000009"),
]
OF_BLUE = [
    _set("/vns/blue/revision"),
    _create("/vns/blue/pages/1.x-0"),
    _create("/history/blue/0000000009"),
]
OF_CONTROLLERS = [
    _set("/vns/red/active"),
    _set("/vns/red/present"),
    _create("/owners/red/n-", ephemeral=True, sequential=True),
    _create("/present/s1/x"),
    _delete("/present/s1/red"),
    _create("/present/s9"),
    _create("/owners/x"),
]
SHARED = _create("/down/s1:1")
OF_S1 = [
    _set("/applied/s1"),
    _set("/seen/s1"),
    SHARED,
    _create("/stats/s1/0"),
    _create("/live/agents/s1/agent", ephemeral=True),
]
OF_S2 = [
    _set("/applied/s2"),
    _set("/seen/s2"),
    _create("/stats/s2/0"),
    _create("/live/agents/s2/agent", ephemeral=True),
]
NEVER_DOWN = [_create("/down/s1:2")]  # all agents share it, nobody else
NEVER_TENANTS = [_delete("/history/red/0000000001"), _delete("/history/blue/0000000001")]
FORBIDDEN = {
    "red": [*PROVIDERS, *OF_BLUE, *OF_CONTROLLERS, *OF_S1, *OF_S2, *NEVER_DOWN, *NEVER_TENANTS],
    "blue": [*PROVIDERS, *OF_RED, *OF_CONTROLLERS, *OF_S1, *OF_S2, *NEVER_DOWN, *NEVER_TENANTS],
    "s1": [*PROVIDERS, *OF_RED, *OF_BLUE, *OF_CONTROLLERS, *OF_S2, *NEVER_TENANTS],
    "s2": [
        *PROVIDERS,
        *OF_RED,
        *OF_BLUE,
        *OF_CONTROLLERS,
        *(one for one in OF_S1 if one is not SHARED),
        *NEVER_TENANTS,
    ],
    "vnc": [*PROVIDERS, *OF_RED, *OF_BLUE, *OF_S1, *OF_S2, *NEVER_DOWN, *NEVER_TENANTS],
}
ALLOWED = {"red": OF_RED, "blue": OF_BLUE, "vnc": OF_CONTROLLERS, "s1": OF_S1, "s2": OF_S2}


@pytest.mark.parametrize("name", FORBIDDEN)
async def test_forbidden_writes_are_refused_and_allowed_ones_are_not(
    place: Place, name: str
) -> None:
    zk = await place.raw(name)
    for number, attempt in enumerate(FORBIDDEN[name]):
        try:
            result = await attempt(zk)
        except Forbidden:
            continue
        except StoreError as error:
            raise AssertionError(f"attempt {number}: {error!r}") from error
        raise AssertionError(f"attempt {number} succeeded: {result}")
    for attempt in ALLOWED[name]:
        with contextlib.suppress(NodeExists):
            await attempt(zk)


async def test_forbidden_write_in_a_transaction_makes_all_of_it_fail(place: Place) -> None:
    zk = await place.raw("red")
    for operation in (
        Create("/grants/x", b"{}"),
        Set("/fabric/keys", b"{}"),
        Delete("/vns/blue/revision"),
    ):
        with pytest.raises(Forbidden):
            await zk.multi(
                [Check("/vns/red/revision", 0), Set("/vns/red/revision", b"bad"), operation]
            )
    assert (await zk.get("/vns/red/revision"))[0] != b"bad"


async def test_page_cannot_be_changed_by_anybody_but_the_provider(place: Place) -> None:
    red = await place.raw("red")
    (page,) = await red.children(layout.pages("red"))
    for name in ("red", "vnc", "s1"):
        with pytest.raises(Forbidden):
            await (await place.raw(name)).set(layout.page("red", page), b"{}")


async def test_without_credentials_a_closed_database_is_read_and_not_written(
    zookeeper: str,
) -> None:
    credentials, access = by_digest()
    async with Place(zookeeper, credentials, access):
        async with await GlobalDatabase.connect(zookeeper) as stranger:
            snapshot = await stranger.read_network()
            assert set(snapshot.vns) == {"red", "blue"}
            with pytest.raises(Forbidden, match="not allowed with these credentials"):
                await stranger.apply(snapshot.vns["red"], replace(RED, learning=True))
            with pytest.raises(Forbidden):
                await stranger.read_access()
            with pytest.raises(StoreError, match="none of those"):
                await stranger.close_tree(access)
        wrong = Credentials(digest=Login(user="provider", password="guessed"))
        async with await GlobalDatabase.connect(zookeeper, credentials=wrong) as stranger:
            with pytest.raises(Forbidden):
                await stranger.apply_fabric(await stranger.read_fabric(), DEMO.fabric, {})


async def test_provider_who_would_shut_himself_out_is_refused(zookeeper: str) -> None:
    credentials, access = by_digest()
    async with await GlobalDatabase.connect(zookeeper, credentials=credentials["red"]) as red:
        with pytest.raises(StoreError, match="none of those"):
            await red.close_tree(access)
        assert await red.read_access() is None
    async with await GlobalDatabase.connect(zookeeper) as anybody:
        await anybody.apply(None, RED)
        zk = anybody._zk
        assert not [name for name in await zk.children("/fabric") if name.startswith("probe")]


async def test_agent_back_after_a_short_absence_replaces_its_announcement(
    zookeeper: str,
) -> None:
    async with Place(zookeeper, *by_digest()) as place:
        before = await place.session("s1")
        await before.register_agent("s1", INFO)
        again = await GlobalDatabase.connect(place.address, credentials=place.credentials["s1"])
        async with again:
            await again.register_agent("s1", replace_pid(INFO))
            found = await (await place.session("vnc")).read_agents()
            assert found["s1"].pid == 2


def replace_pid(info: AgentInfo) -> AgentInfo:
    return AgentInfo(slicer=info.slicer, target=info.target, pid=2)


async def test_server_with_another_authority_or_name_is_not_believed(
    tls_server: str, authority: Path, tmp_path: Path
) -> None:
    good, _ = by_certificate(authority)
    tls = good["red"].tls
    assert tls is not None
    pki.init(tmp_path)
    others = [
        replace(tls, authorities=tmp_path / "ca.pem"),
    ]
    port = tls_server.rpartition(":")[2]
    for address, wrong in (
        *((tls_server, Credentials(tls=one)) for one in others),
        (f"localhost:{port}", good["red"]),  # not the name in its certificate
        (tls_server, Credentials()),  # no TLS
    ):
        with pytest.raises(StoreUnavailable):
            await ZooKeeper(address, credentials=wrong).start(1.5)
    lenient = Credentials(tls=Tls(**{**_fields(tls), "check_hostname": False}))
    zk = await ZooKeeper(f"localhost:{port}", credentials=lenient).start()
    await zk.close()


def _fields(tls: Tls) -> dict[str, object]:
    return {
        "authorities": tls.authorities,
        "certificate": tls.certificate,
        "key": tls.key,
    }


async def test_ensemble_with_certificates_alone_is_served_through_the_failure_of_one(
    authority: Path, tmp_path: Path
) -> None:
    tls = ServerTls(authorities=authority / "ca.pem", identity=authority / "server.identity")
    credentials, access = by_certificate(authority)
    with await asyncio.to_thread(Ensemble(tmp_path, 3, tls=tls).__enter__) as ensemble:
        provider = await GlobalDatabase.connect(
            f"{ensemble.address}/dfvisor", credentials=credentials["provider"], timeout_s=20.0
        )
        async with provider:
            await provider.apply(None, RED)
            await provider.close_tree(access)
            ensemble.kill(ensemble.leader())

            async def changed() -> bool:
                try:
                    base = await provider.read_vn("red")
                    assert base is not None
                    after = await provider.apply(base, replace(base.vn, learning=True))
                except StoreUnavailable:
                    return False
                return after.revision == 2

            await until(changed, "it is changed through another server")


async def test_sasl_login_is_known_to_the_server(tmp_path: Path) -> None:
    users = {"provider": "secret", "red": "other"}
    with await asyncio.to_thread(ZooKeeperServer(tmp_path, sasl=users).start) as server:
        logins = {
            name: Credentials(sasl=Login(user=name, password=password))
            for name, password in users.items()
        }
        access = Access(provider=(Principal("sasl", "provider"),))
        async with await GlobalDatabase.connect(
            server.address, credentials=logins["provider"]
        ) as provider:
            await provider.close_tree(access)
            await provider.apply(None, RED)
        async with await GlobalDatabase.connect(server.address, credentials=logins["red"]) as red:
            with pytest.raises(Forbidden):
                await red.apply(None, BLUE)
        wrong = Credentials(sasl=Login(user="provider", password="guessed"))
        with pytest.raises(StoreUnavailable):
            await ZooKeeper(server.address, credentials=wrong).start(1.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("role: boss", "role: 'boss' is not one of: provider, tenant, controller, agent"),
        ("tls: {authorities: no.pem}", "tls.authorities: there is no file"),
        ("tls: {authorities: ok}", "tls: certificate is missing"),
        ("digest: {user: 'a:b', password: x}", "digest.user: 'a:b' is no user name"),
        ("digest: {user: a}", "digest: password or password_file is missing"),
        ("digest: {user: a, password_file: none}", "digest.password_file: "),
        ("digest: 5", "digest: expected a mapping"),
        ("tsl: {}", "unknown key 'tsl'; did you mean 'tls'?"),
        ("a: [", "not YAML"),
    ],
)
def test_mistake_in_a_credentials_file_is_reported(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ok").write_text("")
    file = tmp_path / "credentials.yaml"
    file.write_text(text)
    with pytest.raises(DescriptionError, match=re.escape(message)):
        load(file)


def test_password_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("hush\n")
    file = tmp_path / "credentials.yaml"
    file.write_text("zookeeper: z:1/x\ndigest: {user: a, password_file: pass}\n")
    found = load(file)
    assert found.zookeeper == "z:1/x" and not found.anonymous
    assert found.digest == Login(user="a", password="hush")
    assert "hush" not in repr(found)


def test_only_the_list_of_principals_is_secret_and_the_provider_may_do_all() -> None:
    _, access = by_digest()
    for path in ("/", "/fabric/access", "/vns/red/revision", "/vns/red/pages/x", "/more"):
        entries = {(one.principal.scheme, one.permissions) for one in acl_of(path, access, {})}
        assert ("digest", "cdrwa") in entries
        assert (("world", "r") in entries) == (path != "/fabric/access")
