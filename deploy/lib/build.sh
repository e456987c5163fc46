# shellcheck shell=bash
# The release build and the installed binaries.

# find_cargo: puts cargo in PATH; under sudo rustup's folder is not in root's.
find_cargo() {
    local home
    if command -v cargo >/dev/null; then return 0; fi
    for home in "$HOME" "$(getent passwd "${SUDO_USER:-}" | cut -d: -f6)"; do
        if [ -n "$home" ] && [ -x "$home/.cargo/bin/cargo" ]; then
            export PATH="$home/.cargo/bin:$PATH"
            # rustup's shims look for their toolchains in the home of the user who installed them.
            if [ "$home" != "$HOME" ]; then
                export RUSTUP_HOME="${RUSTUP_HOME:-$home/.rustup}"
            fi
            return 0
        fi
    done
    die "cargo is not found in PATH nor in ~/.cargo/bin; install the Rust toolchain (rustup) and run this again"
}

# target_dir: where cargo puts its output (CARGO_TARGET_DIR and config files included).
target_dir() {
    cargo metadata --format-version 1 --no-deps --offline --manifest-path "$REPOSITORY/Cargo.toml" |
        sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}

# build_binaries: installs edgestackd and edgectl, built here or as they lie in EDGESTACK_BIN_DIR.
build_binaries() {
    local from=${EDGESTACK_BIN_DIR:-} name changed=()
    if [ -z "$from" ]; then
        cargo build --release --locked --manifest-path "$REPOSITORY/Cargo.toml" -p edgestackd -p edgectl
        from=$(target_dir)/release
    fi
    for name in edgestackd edgectl; do
        [ -f "$from/$name" ] || die "EDGESTACK_BIN_DIR is $from, which has no $name; unset it to build from source"
    done
    mkdir -p "$(bin_dir)"
    for name in edgestackd edgectl; do
        if install_if_changed "$from/$name" "$(bin_dir)/$name"; then
            changed+=("$name")
        fi
    done
    note "$(bin_dir): ${changed[*]:-nothing new}"
}

# install_if_changed FROM TO: true if it was replaced; by rename, so that a running binary is
# never written to and no moment sees half of one.
install_if_changed() {
    if cmp --silent "$1" "$2"; then return 1; fi
    install --mode=0755 "$1" "$2.new"
    mv -f "$2.new" "$2"
}

# check_path PATH: a hint where the installed binaries are not in it.
check_path() {
    case ":$1:" in
    *":$(bin_dir):"*) ;;
    *) printf "hint: edgectl is in %s, which is not in your PATH: export PATH=%s:\$PATH\n" "$(bin_dir)" "$(bin_dir)" >&2 ;;
    esac
}
