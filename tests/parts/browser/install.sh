#!/usr/bin/env bash
# Installs Debian's Chromium, with which tests/attacks/control/test_browser.py looks at hostile cards (300 MB).
set -eu
command -v chromium >/dev/null 2>&1 && exit 0
command -v apt-get >/dev/null 2>&1 || { echo "no apt-get: install Chromium by hand for the browser tests" >&2; exit 0; }
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
