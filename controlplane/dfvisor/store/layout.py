"""Where things are in the ZooKeeper tree. All paths are below the chroot of the connection.

/switches/<switch>  /links/<link>  /peers/<peer>                         provider
/tenants/<tenant>   /fabric/revision  /fabric/epoch                      provider
/fabric/access                     who is who, for access control lists  provider
/grants/<vn>                       what the VN may ask for               provider
/fabric/grants                     which grants changed lately; watched  provider
/fabric/keys                       ranges of GRE keys granted            provider
/keys/<key>                        VN that has a GRE key nobody granted  provider
/vns/<vn>/revision                 number, manifest of pages; watched    tenant
/vns/<vn>/pages/<generation>-<n>   immutable pages of records            tenant
/vns/<vn>/active                   activated revision, leader; watched   leader
/vns/<vn>/present                  where the VN is in the index              who changes it
/present/<switch>/<vn>             index: the VN is present there; watched   who changes the VN
/history/<vn>/<revision>            who, when, why; bounded                    who changes the VN
/owners/<vn>/n-<sequence>          ephemeral; the lowest leads the VN    VN controllers
/retired/<vn>                      last revision number before deletion  provider
/live/agents/<switch>/agent        ephemeral                             agents
/applied/<switch>  /stats/<switch>/<page>                                agents
/down/<switch>:<port>              the link at this port is down; watched    agents
/seen/<switch>                     fabric ports: who is at the other end     agents
/learned/<vn>/<switch>.<generation>  hosts seen at access ports; watched     agents
"""

from __future__ import annotations

SWITCHES = "/switches"
LINKS = "/links"
PEERS = "/peers"
TENANTS = "/tenants"
FABRIC = "/fabric"
FABRIC_REVISION = "/fabric/revision"
EPOCH = "/fabric/epoch"
ACCESS = "/fabric/access"
GRANTS = "/grants"
GRANT_LOG = "/fabric/grants"
GRANTED_KEYS = "/fabric/keys"
KEYS = "/keys"
VNS = "/vns"
OWNERS = "/owners"
PRESENT = "/present"
HISTORY = "/history"
RETIRED = "/retired"
AGENTS = "/live/agents"
APPLIED = "/applied"
STATS = "/stats"
DOWN = "/down"
SEEN = "/seen"
LEARNED = "/learned"

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
    PRESENT,
    HISTORY,
    RETIRED,
    "/live",
    AGENTS,
    APPLIED,
    STATS,
    DOWN,
    SEEN,
    LEARNED,
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


def vn_present(name: str) -> str:
    return f"{VNS}/{name}/present"


def present(switch: str) -> str:
    return f"{PRESENT}/{switch}"


def presence(switch: str, name: str) -> str:
    return f"{PRESENT}/{switch}/{name}"


def history(name: str) -> str:
    return f"{HISTORY}/{name}"


def history_of(name: str, revision: int) -> str:
    return f"{HISTORY}/{name}/{revision:010d}"


def history_end(name: str, revision: int) -> str:
    return f"{HISTORY}/{name}/{revision:010d}-deleted"


def owners(name: str) -> str:
    return f"{OWNERS}/{name}"


def agents_of(switch: str) -> str:
    return f"{AGENTS}/{switch}"


def agent(switch: str) -> str:
    return f"{AGENTS}/{switch}/agent"


def applied(switch: str) -> str:
    return f"{APPLIED}/{switch}"


def seen(switch: str) -> str:
    return f"{SEEN}/{switch}"


def stats(switch: str) -> str:
    return f"{STATS}/{switch}"


def grant(name: str) -> str:
    return f"{GRANTS}/{name}"


def key(number: int) -> str:
    return f"{KEYS}/{number}"


def retired(name: str) -> str:
    return f"{RETIRED}/{name}"
