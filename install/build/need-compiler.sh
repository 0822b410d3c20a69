#!/bin/sh
# Makes sure that a C compiler is there: Debian's gcc, installed when it is missing and we may.
set -eu
command -v "${CC:-cc}" >/dev/null && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo 'A C compiler is needed: install gcc and libc6-dev' >&2
  exit 2
fi
echo 'apt: gcc libc6-dev'
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install -y --no-install-recommends gcc libc6-dev >/dev/null 2>&1 && exit 0
apt-get -qq update
apt-get -qq install -y --no-install-recommends gcc libc6-dev >/dev/null
