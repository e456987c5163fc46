# shellcheck shell=bash
# Where the site's network `outside` leads to: to a made-up world on this machine, or to a real interface. What was chosen is
# kept in the state dir; outside_world makes it so. Callers set STATE_DIR and EDGESTACK_NETWORKS, and from the command line
# OUTSIDE (yes or no), UPLINK, OUTSIDE_CIDR, OUTSIDE_GATEWAY, OUTSIDE_POOL, MASQUERADE and FORCE.

# shellcheck disable=SC2034 # Read by service.sh.
PHYSICAL_NETWORK=external=br-ex
# RFC 5737: prefixes for documentation, which nobody has in earnest.
OUTSIDE_PREFIXES=(203.0.113.0/24 198.51.100.0/24 192.0.2.0/24)

outside_folder() {
    printf '%s/outside\n' "$STATE_DIR"
}

# outside_setting NAME: as it was chosen, empty if it was not.
outside_setting() {
    if [ -f "$(outside_folder)/settings" ]; then sed --quiet "s/^$1=//p" "$(outside_folder)/settings"; fi
}

has_outside() {
    [ "${EDGESTACK_NETWORKS:-off}" = bundled ] && [ -f "$(outside_folder)/settings" ]
}

# outside_world_of_site up|down|list
outside_world_of_site() {
    bash "$DEPLOY/lib/outside_world" "$1" "$STATE_DIR"
}

# choose_outside: before the daemon starts, as its arguments follow from it.
choose_outside() {
    local kind=host uplink cidr gateway pool somebody masquerade plan chosen
    if [ "$OUTSIDE" = no ]; then
        outside_world_of_site down
        rm -rf --one-file-system "$(outside_folder)"
        note none
        return 0
    fi
    uplink=${UPLINK:-$(outside_setting uplink)}
    cidr=$OUTSIDE_CIDR
    gateway=$OUTSIDE_GATEWAY
    pool=$OUTSIDE_POOL
    # shellcheck disable=SC2153 # Of the command line.
    masquerade=$MASQUERADE
    # What was chosen for something else says nothing about this.
    if [ "$uplink" = "$(outside_setting uplink)" ]; then
        cidr=${cidr:-$(outside_setting cidr)}
        if [ "$cidr" = "$(outside_setting cidr)" ]; then
            gateway=${gateway:-$(outside_setting gateway)}
            pool=${pool:-$(outside_setting pool)}
        fi
        masquerade=${masquerade:-$(outside_setting masquerade)}
    fi
    if [ -n "$uplink" ]; then
        kind=uplink
        [ "$masquerade" != yes ] || die "--masquerade is for the made-up world; with --uplink the network's own gateway leads on"
        if [ -z "$cidr" ] || [ -z "$gateway" ] || [ -z "$pool" ]; then
            die "--uplink $uplink needs the addresses of the network that it is on: --outside-cidr PREFIX --outside-gateway ADDRESS --outside-pool FIRST-LAST"
        fi
        refuse_uplink "$uplink"
    fi
    plan=$(plan_outside "$kind" "$cidr" "$gateway" "$pool") || exit 1
    read -r cidr gateway pool somebody <<<"$plan"
    # Said before anything is changed, if the site can be asked.
    has_network_outside "$cidr" "$gateway" || true
    if [ "$masquerade" = yes ]; then ensure_packages nftables; fi
    chosen=$(printf '%s\n' "kind=$kind" "uplink=$uplink" "cidr=$cidr" "gateway=$gateway" "pool=$pool" \
        "somebody=$somebody" "masquerade=${masquerade:-no}")
    if [ -f "$(outside_folder)/settings" ] && [ "$kind $uplink" != "$(outside_setting kind) $(outside_setting uplink)" ]; then
        outside_world_of_site down
    fi
    mkdir -p "$(outside_folder)"
    printf '%s\n' "$chosen" >"$(outside_folder)/settings.new"
    mv -f "$(outside_folder)/settings.new" "$(outside_folder)/settings"
    # The unit's own: the checkout may go.
    install --mode=0755 "$DEPLOY/lib/outside_world" "$(outside_folder)/world.new"
    mv -f "$(outside_folder)/world.new" "$(outside_folder)/world"
    note "$cidr, ${uplink:-on this machine}"
}

# plan_outside KIND CIDR GATEWAY POOL: "CIDR GATEWAY POOL SOMEBODY", with what was not said (empty) filled in; refuses what can't
# be. The prefix of a made-up world must be one that this machine doesn't know a way to.
plan_outside() {
    ip -json -4 route show table all | /usr/bin/env python3 -c '
import ipaddress, json, sys

kind, cidr, gateway, pool, *choices = sys.argv[1:]

def refuse(why):
    sys.exit(f"error: {why}")

def parsed(option, text, parse):
    try:
        return parse(text)
    except ValueError as error:
        refuse(f"{option} {text}: {error}")

def known_way(prefix):
    for route in routes:
        if route.get("dst") in (None, "default") or route.get("dev") == "es-host" or route.get("type") in ("broadcast", "multicast"):
            continue
        known = ipaddress.IPv4Network(route["dst"])
        # Half of the world is a default route by another name.
        if known.prefixlen > 1 and known.overlaps(prefix):
            return route["dst"] + (" by " + route["dev"] if "dev" in route else "")

routes = json.load(sys.stdin)
free = [text for text in choices if not known_way(ipaddress.IPv4Network(text))]
if not cidr:
    if not free:
        refuse("this machine has ways already to all of " + ", ".join(choices) + "; choose a prefix that it has none to: --outside-cidr PREFIX")
    cidr = free[0]
prefix = parsed("--outside-cidr", cidr, ipaddress.IPv4Network)
if prefix.prefixlen > 29 or prefix.prefixlen < 8 or prefix.is_multicast or prefix.is_loopback:
    refuse(f"--outside-cidr {cidr} is no prefix of hosts with 8 to 29 bits")
way = known_way(prefix) if kind == "host" else None
if way:
    refuse(f"this machine has a way to {cidr} already ({way}); choose another prefix: --outside-cidr " + (free[0] if free else "PREFIX"))
first, last = prefix[1], prefix[-2]
gateway = parsed("--outside-gateway", gateway, ipaddress.IPv4Address) if gateway else first
if not first <= gateway <= last:
    refuse(f"--outside-gateway {gateway} is no host of {cidr}")
if not pool:
    pool = f"{prefix[10]}-{prefix[199]}" if prefix.num_addresses >= 256 else f"{prefix[2]}-{prefix[-3]}"
low, _, high = pool.partition("-")
low, high = (parsed("--outside-pool", text, ipaddress.IPv4Address) for text in (low, high))
if not first <= low <= high <= last:
    refuse(f"--outside-pool {pool} is no range FIRST-LAST of hosts of {cidr}")
if low <= gateway <= high:
    refuse(f"--outside-pool {pool} has the gateway {gateway} in it")
somebody = last
while kind == "host" and (low <= somebody <= high or somebody == gateway):
    somebody -= 1
    if somebody < first:
        refuse(f"--outside-pool {pool} leaves no address for somebody outside; make it smaller")
print(prefix, gateway, f"{low}-{high}", somebody)
' "$1" "$2" "$3" "$4" "${OUTSIDE_PREFIXES[@]}"
}

# refuse_uplink IFACE: one that can't be on a bridge, or that somebody needs where it is.
refuse_uplink() {
    local device=$1 why
    if [[ ! $device =~ ^[A-Za-z0-9_.@-]{1,15}$ ]] || [ ! -e "/sys/class/net/$device" ]; then
        die "--uplink $device: there is no such interface; see: ip link"
    fi
    [[ ! $device =~ ^(lo|br-.*|ovs-.*|es-.*|es[0-9a-f]+n[0-9]+)$ ]] || die "--uplink $device: that one leads nowhere outside"
    if [ -e "/sys/class/net/$device/wireless" ] || [ -e "/sys/class/net/$device/phy80211" ]; then
        die "--uplink $device: a wireless interface carries one MAC address only, so it can't be on a bridge"
    fi
    # It is there already.
    if [ "$device" = "$(outside_setting uplink)" ] && [ -e "$(outside_folder)/made" ]; then return 0; fi
    [ ! -e "/sys/class/net/$device/master" ] ||
        die "--uplink $device: it belongs to $(basename "$(readlink "/sys/class/net/$device/master")") already"
    if why=$(who_needs "$device") && [ "$FORCE" = no ]; then
        die "--uplink $device: $why, and its addresses don't work on a bridge; take another interface, or, if you are sure, add --force"
    fi
}

# who_needs IFACE: why it had better stay where it is; fails where nothing speaks against it.
who_needs() {
    local device=$1 other address addresses
    while read -r other; do
        if [ "$other" = "$device" ] || [ -e "/sys/class/net/$other/lower_$device" ]; then
            printf 'it carries the default route of this machine'
            return 0
        fi
    done < <({ ip -4 route show default; ip -6 route show default; } | sed --quiet 's/.* dev \([^ ]*\).*/\1/p')
    addresses=$(ip -oneline address show dev "$device" | awk '{ sub("/.*", "", $4); print $4 }')
    while read -r address; do
        if [ -n "$address" ] && grep --quiet --line-regexp --fixed-strings "$address" <<<"$addresses"; then
            printf 'somebody is logged in through its address %s' "$address"
            return 0
        fi
    done < <(login_addresses)
    return 1
}

# login_addresses: of this machine, through which somebody is logged in by SSH: as its port tells, and as our own login does, which
# sudo hides from us but not from whom it was started by.
login_addresses() {
    local pid=$$
    ss --no-header --tcp --numeric state established '( sport = :ssh )' |
        awk '{ sub(":[0-9]*$", "", $3); gsub("[][]", "", $3); sub("^::ffff:", "", $3); sub("%.*", "", $3); print $3 }'
    while [ -n "$pid" ] && [ "$pid" -gt 1 ]; do
        process_environment "$pid" SSH_CONNECTION | awk '{ print $3 }'
        pid=$(ps --no-headers -o ppid --pid "$pid" | tr -d ' ')
    done
}

# make_outside: after the daemon has started, whose switch the world is plugged into; and the site's network for it.
make_outside() {
    local deadline=$((SECONDS + 60)) said
    until ovs-vsctl --db="unix:$STATE_DIR/ovn/switch.sock" --timeout=5 br-exists br-ex 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || die "the switch has no bridge br-ex after 60 s; see $(daemon_log_hint)"
        sleep 0.2
    done
    outside_world_of_site up
    if has_network_outside "$(outside_setting cidr)" "$(outside_setting gateway)"; then
        printf 'the network outside is there\n'
    else
        # A node that has told that it leads elsewhere tells otherwise a moment after its start.
        until said=$(edgectl create-network outside --type flat --physical-network external \
            --cidr "$(outside_setting cidr)" --gateway-ip "$(outside_setting gateway)" \
            --ip-pool "$(outside_setting pool)" --no-dhcp 2>&1); do
            [[ $said == *'no node leads to'* && $SECONDS -lt $deadline ]] || die "$said"
            sleep 0.2
        done
        printf '%s\n' "$said"
    fi
    if [ "$(outside_setting kind)" = host ]; then
        note "this machine is $(outside_setting gateway) there, somebody else $(outside_setting somebody) (ip netns exec edgestack-outside …)"
    else
        note "$(outside_setting uplink) leads to $(outside_setting cidr)"
    fi
}

# has_network_outside CIDR GATEWAY: fails where the site has none yet, or does not answer; ends where it has another one.
has_network_outside() {
    local network
    [ -f "$STATE_DIR/client.json" ] || return 1
    # This site's, whatever the caller's config points at.
    network=$(EDGESTACK_URL=$(json_field url <"$STATE_DIR/client.json") EDGESTACK_TOKEN=$(json_field token <"$STATE_DIR/client.json") \
        timeout 20 edgectl show-network outside -o json 2>/dev/null) || return 1
    network="$(json_field cidr <<<"$network") with the gateway $(json_field gateway_ip <<<"$network")"
    [ "$network" = "$1 with the gateway $2" ] ||
        die "the site's network outside is $network, not $1 with the gateway $2; remove it and what is on it (edgectl remove-network outside), choose these addresses (--outside-cidr, --outside-gateway), or have none of it (--no-outside)"
}

# take_outside_away: not the choice.
take_outside_away() {
    if is_root && [ -n "$(outside_world_of_site list)" ]; then
        printf '  taking the outside world away\n' >&2
        outside_world_of_site down
    fi
}
