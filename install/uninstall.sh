#!/bin/sh
# `make uninstall`: removes what install.sh wrote; configuration, keys and state stay. Take trireme-cni out of the conflist first: a runtime
# whose conflist names a missing plugin can't end its pods.
set -eu
remove() {
  [ -e "$DESTDIR$1" ] || return 0
  rm -rf "$DESTDIR$1"
  echo "  removed $DESTDIR$1"
}
named=$(grep -ls '"trireme-cni"' "$DESTDIR"/etc/cni/net.d/*.conf* "$DESTDIR"/etc/cni/net.d/*/*.conf 2>/dev/null || true)
if [ -n "$named" ]; then
  echo "trireme-cni is still named in: $named" >&2
  echo 'Take it out there first, or pods can no longer be ended.' >&2
  exit 1
fi
remove "$CNI_BIN_DIR/trireme-cni"
remove "$PREFIX/bin/trireme"
remove "$SYSTEMD_DIR/trireme.service"
remove "$EXAMPLES_DIR"
