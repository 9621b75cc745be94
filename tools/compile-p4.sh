#!/bin/sh
# Compiles p4src/ into bmv2_configs/ where p4c is installed; otherwise checks that the committed
# files belong to the sources that are here, by the hashes in bmv2_configs/SHA256SUMS.
set -eu
cd "$(dirname "$0")/.."
sums=bmv2_configs/SHA256SUMS
json=bmv2_configs/dfvisor.json
p4info=bmv2_configs/dfvisor.p4info.txtpb

hashes() {
    find p4src -name '*.p4' | LC_ALL=C sort | xargs sha256sum
    sha256sum "$json" "$p4info"
}

if command -v p4c-bm2-ss >/dev/null; then
    # FrameParser is specialised for its first use, where some of its cases cannot happen.
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    p4c-bm2-ss --p4v 16 --Werror --Wdisable=parser-transition -I p4src -o "$out/dfvisor.json" \
        --p4runtime-files "$out/dfvisor.p4info.txtpb" p4src/dfvisor.p4
    mv "$out/dfvisor.json" "$json"
    mv "$out/dfvisor.p4info.txtpb" "$p4info"
    hashes > "$sums"
    echo "p4: compiled p4src/ with $(p4c-bm2-ss --version 2>&1 | sed -n 's,^Version \([^ ]*\).*,p4c \1,p')"
elif hashes | diff -u "$sums" - >&2; then
    echo "p4: p4c is not installed; used the committed bmv2_configs/, whose hashes match p4src/"
else
    echo "p4: bmv2_configs/ does not belong to p4src/ (differences above):" \
         "run make p4 where p4c is installed and commit the result" >&2
    exit 1
fi
