# shellcheck shell=bash
# Debian packages: only what is missing is installed, and apt's lists are read only then.

# One list a purpose. QEMU is apart, as its two packages must be of one version.
# shellcheck disable=SC2034 # Read by the scripts that source this.
{
    PACKAGES_BUILD=(gcc g++ make pkg-config libc6-dev)
    PACKAGES_SITE=(ca-certificates curl openssh-client python3-venv procps)
    PACKAGES_IMAGE=(mmdebstrap debian-archive-keyring e2fsprogs fdisk dosfstools mtools zstd)
    PACKAGES_NETWORKS=(openvswitch-switch ovn-central ovn-host iproute2 ethtool iputils-ping)
    PACKAGES_TEST=(shellcheck python3-yaml qemu-guest-agent iproute2 iputils-ping ethtool)
}

# as_root COMMAND...: runs it as root, through sudo where we are not.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "needs root for: $*; run as root, or install sudo"
    fi
}

has_package() {
    [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends "$@"
}

# Once a run: the marker outlives the subshell of a step.
apt_update_once() {
    if [ -e "${APT_UPDATED:=$(mktemp -u)}" ]; then return 0; fi
    as_root apt-get --quiet -o DPkg::Lock::Timeout=300 update
    : >"$APT_UPDATED"
}

# ensure_packages NAME...: installs the missing ones.
ensure_packages() {
    local name missing=()
    for name in "$@"; do
        if ! has_package "$name"; then missing+=("$name"); fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return 0
    fi
    command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and this machine has no apt-get"
    apt_update_once
    apt_install "${missing[@]}"
    printf '%s\n' "${missing[@]}" >>"${PACKAGES_INSTALLED:-/dev/null}"
}

# ensure_network_packages: Open vSwitch and OVN. Their own services stay off where they come by us: the daemon runs the
# programs by itself, and two switches would take each other's devices. Those of a machine that has them are left as they are.
ensure_network_packages() {
    local name status=0 missing=()
    # A run that was cut short left it.
    allow_services
    for name in "${PACKAGES_NETWORKS[@]}"; do
        if ! has_package "$name"; then missing+=("$name"); fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then return 0; fi
    forbid_services
    ensure_packages "${missing[@]}" || status=$?
    allow_services
    if [ "$status" -ne 0 ]; then return "$status"; fi
    # Not started now is not enough: they would be at the next boot.
    if [ -d /run/systemd/system ]; then
        for name in "${missing[@]}"; do
            if [ "$(systemctl is-enabled "$name.service" 2>/dev/null)" = enabled ]; then
                as_root systemctl disable "$name.service"
            fi
        done
    fi
}

# Source: invoke-rc.d(8), policy-rc.d; 101: the action is forbidden. One that the machine has is left as it is.
POLICY_RC_D=/usr/sbin/policy-rc.d

forbid_services() {
    if [ ! -e "$POLICY_RC_D" ]; then
        printf '#!/bin/sh\n# edgestack: for the length of one installation\nexit 101\n' | as_root tee "$POLICY_RC_D" >/dev/null
        as_root chmod 0755 "$POLICY_RC_D"
    fi
}

allow_services() {
    if grep --quiet --no-messages 'edgestack: for the length of one installation' "$POLICY_RC_D"; then
        as_root rm -f "$POLICY_RC_D"
    fi
}

# qemu_version COMMAND: its version as its --version prints it, empty where it is absent.
qemu_version() {
    if command -v "$1" >/dev/null; then
        "$1" --version | sed -n '1s/.*version \([^ ]*\).*/\1/p'
    fi
}

qemu_is_a_pair() {
    local system utils
    system=$(qemu_version qemu-system-x86_64)
    utils=$(qemu_version qemu-img)
    [ -n "$system" ] && [ "$system" = "$utils" ]
}

# apt_offers PACKAGE SUITE
apt_offers() {
    [ -n "$(apt-cache madison "$1" | awk -v suite="$2/main" 'index($0, suite)')" ]
}

# ensure_qemu: qemu-system-x86_64 and qemu-img of one version. A qemu-img of another version than
# the emulator's may write images or speak options that the other does not know.
ensure_qemu() {
    local codename suite
    if qemu_is_a_pair; then return 0; fi
    codename=$(debian_codename)
    suite=$codename-backports
    # Backports are preferred (QEMU 10 for bookworm); a mirror without them leaves the stock pair.
    if ensure_backports_source "$codename"; then
        rm -f "${APT_UPDATED:=$(mktemp -u)}"
    fi
    apt_update_once
    if ! apt_offers qemu-system-x86 "$suite"; then suite=$codename; fi
    # Both are named, so that a stock one that is here already is raised to the other's version.
    apt_install --target-release "$suite" qemu-system-x86 qemu-utils
    printf 'qemu-system-x86\n' >>"${PACKAGES_INSTALLED:-/dev/null}"
    qemu_is_a_pair || die "qemu-system-x86_64 is $(qemu_version qemu-system-x86_64) and qemu-img is $(qemu_version qemu-img); install both from one suite: apt-get install -t $suite qemu-system-x86 qemu-utils"
}
