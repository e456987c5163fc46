# shellcheck shell=bash
# Where things of a site live. Each can be set from outside, for tests and for a second site.

is_root() {
    [ "$(id -u)" -eq 0 ]
}

default_state_dir() {
    if is_root; then
        printf '/var/lib/edgestack\n'
    else
        printf '%s/edgestack\n' "${XDG_DATA_HOME:-$HOME/.local/share}"
    fi
}

cache_dir() {
    if [ -n "${EDGESTACK_CACHE_DIR:-}" ]; then
        printf '%s\n' "$EDGESTACK_CACHE_DIR"
    elif is_root; then
        printf '/var/cache/edgestack\n'
    else
        printf '%s/edgestack\n' "${XDG_CACHE_HOME:-$HOME/.cache}"
    fi
}

bin_dir() {
    if is_root; then
        printf '/usr/local/bin\n'
    else
        printf '%s/.local/bin\n' "$HOME"
    fi
}

config_dir() {
    printf '%s/edgestack\n' "${XDG_CONFIG_HOME:-$HOME/.config}"
}

# checked_state_dir DIR: absolute. Its name goes into a systemd unit, QEMU options and socket paths.
checked_state_dir() {
    local dir
    dir=$(realpath --canonicalize-missing --no-symlinks -- "$1")
    [[ $dir =~ ^/[A-Za-z0-9._/@+-]+$ ]] || die "the state dir $dir has characters that unit files and QEMU read otherwise; use letters, digits and ._/@+-"
    # A UNIX socket's path holds 107 bytes, of which a VM's take up to 60 below the state dir.
    [ "${#dir}" -le 47 ] || die "the state dir $dir is longer than the 47 characters that leave room for the sockets below it"
    printf '%s\n' "$dir"
}
