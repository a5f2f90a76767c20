#!/usr/bin/env bash
# Install npm's oidc-provider (a certified OpenID provider) into a cache outside the repository, for the tests marked `oidc`.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/guardhouse-tests/oidc"
if ! command -v npm >/dev/null 2>&1; then echo "npm is not here: oidc-provider is left out, its tests will skip" >&2; exit 0; fi
mkdir -p "$cache"
if cmp -s "$here/package.json" "$cache/package.json" && [ -d "$cache/node_modules/oidc-provider" ]; then exit 0; fi
cp "$here/package.json" "$cache/package.json"
cd "$cache" && npm install --no-package-lock --no-audit --no-fund --silent
