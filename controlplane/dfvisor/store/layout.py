"""Where things are in the ZooKeeper tree. All paths are below the chroot of the connection.

/switches/<switch>  /links/<link>  /peers/<peer>                         provider
/tenants/<tenant>   /fabric/revision                                     provider
/grants/<vn>                       what the VN may ask for               provider
/fabric/grants                     which grants changed lately; watched  provider
/fabric/keys                       ranges of GRE keys granted            provider
/keys/<key>                        VN that has a GRE key nobody granted  provider
/vns/<vn>/revision                 number, manifest of pages; watched    tenant
/vns/<vn>/pages/<generation>-<n>   immutable pages of records            tenant
/vns/<vn>/active                   activated revision, leader; watched   leader
/owners/<vn>/n-<sequence>          ephemeral; the lowest leads the VN    VN controllers
/retired/<vn>                      last revision number before deletion  provider
/live/agents/<switch>              ephemeral                             agents
/applied/<switch>  /stats/<switch>/<page>                                agents
"""

from __future__ import annotations

SWITCHES = "/switches"
LINKS = "/links"
PEERS = "/peers"
TENANTS = "/tenants"
FABRIC = "/fabric"
FABRIC_REVISION = "/fabric/revision"
GRANTS = "/grants"
GRANT_LOG = "/fabric/grants"
GRANTED_KEYS = "/fabric/keys"
KEYS = "/keys"
VNS = "/vns"
OWNERS = "/owners"
RETIRED = "/retired"
AGENTS = "/live/agents"
APPLIED = "/applied"
STATS = "/stats"

FIXED = (
    SWITCHES,
    LINKS,
    PEERS,
    TENANTS,
    FABRIC,
    GRANTS,
    KEYS,
    VNS,
    OWNERS,
    RETIRED,
    "/live",
    AGENTS,
    APPLIED,
    STATS,
)


def vn(name: str) -> str:
    return f"{VNS}/{name}"


def revision(name: str) -> str:
    return f"{VNS}/{name}/revision"


def active(name: str) -> str:
    return f"{VNS}/{name}/active"


def pages(name: str) -> str:
    return f"{VNS}/{name}/pages"


def page(name: str, node: str) -> str:
    return f"{VNS}/{name}/pages/{node}"


def owners(name: str) -> str:
    return f"{OWNERS}/{name}"


def grant(name: str) -> str:
    return f"{GRANTS}/{name}"


def key(number: int) -> str:
    return f"{KEYS}/{number}"


def retired(name: str) -> str:
    return f"{RETIRED}/{name}"
