#!/bin/sh
# `make install`: binaries, systemd unit, examples. Each file is written aside and renamed, so running programs are no obstacle and nobody
# ever sees half a file.
set -eu
cd "$(dirname "$0")/.."

put() { # MODE SOURCE TARGET
  mkdir -p "$(dirname "$DESTDIR$3")"
  temporary="$(dirname "$DESTDIR$3")/.$(basename "$3").$$"
  trap 'rm -f "$temporary"' EXIT
  cp "$2" "$temporary"
  chmod "$1" "$temporary"
  mv -f "$temporary" "$DESTDIR$3"
  echo "  $DESTDIR$3"
}

put 0755 build/trireme-cni "$CNI_BIN_DIR/trireme-cni"
put 0755 build/trireme "$PREFIX/bin/trireme"
for example in install/examples/*; do
  put 0644 "$example" "$EXAMPLES_DIR/$(basename "$example")"
done
unit=$(mktemp)
sed "s|@PREFIX@|$PREFIX|g" install/trireme.service >"$unit"
put 0644 "$unit" "$SYSTEMD_DIR/trireme.service"
rm -f "$unit"
