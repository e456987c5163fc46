# shellcheck shell=bash
# The demo VM, made through the API as any user would. All that it asks of edgectl stands here.

DEMO_TIMEOUT_S=600
DEMO_CIDR=10.0.0.0/24

demo_image() {
    local path
    path=$("$DEPLOY/guest-image" --print-path)
    if ! edgectl show-image debian-12; then
        edgectl create-image debian-12 --path "$path" --format qcow2 --wait
    fi
    note "debian-12 from $path"
}

demo_flavor() {
    if ! edgectl show-flavor small; then
        edgectl create-flavor small --vcpus 1 --memory-mib 512 --disk-gib 4
    fi
    note "small: 1 vCPU, 512 MiB, 4 GiB"
}

demo_key_file() {
    printf '%s/default.key\n' "$(config_dir)"
}

# own_public_key: the user's own, if there is one.
own_public_key() {
    local name
    for name in id_ed25519 id_rsa; do
        if [ -f "$HOME/.ssh/$name.pub" ]; then
            printf '%s/.ssh/%s.pub\n' "$HOME" "$name"
            return 0
        fi
    done
    return 1
}

demo_keypair() {
    local public_key
    if edgectl show-keypair default; then
        # A run that ended between the answer and the file leaves a keypair that opens nothing.
        if own_public_key || [ -s "$(demo_key_file)" ] || edgectl show-vm hello; then
            note "default, as it is"
            return 0
        fi
        edgectl remove-keypair default
    fi
    if public_key=$(own_public_key); then
        edgectl create-keypair default --public-key-file "$public_key"
        note "default, from $public_key"
    else
        rm -f "$(demo_key_file)"
        edgectl create-keypair default --type ed25519 --private-key-file "$(demo_key_file)"
        note "default, private key in $(demo_key_file)"
    fi
}

# demo_network: a network of hello's own, the router that leads outside, and what may come in. What is there stays as it is.
demo_network() {
    local server servers=()
    if edgectl show-vm hello; then
        note "as it is"
        return 0
    fi
    # Where VMs reach no further than this machine, a name server would not answer.
    if [ "$(outside_setting kind)" = uplink ] || [ "$(outside_setting masquerade)" = yes ]; then
        while read -r server; do servers+=(--dns-server "$server"); done < <(name_servers)
    fi
    if ! edgectl show-network blue; then
        edgectl create-network blue --cidr "$DEMO_CIDR" "${servers[@]}"
    fi
    if ! edgectl show-router edge; then
        edgectl create-router edge --network blue --external-network outside
    fi
    if ! edgectl show-sg ssh-and-ping; then
        edgectl create-sg ssh-and-ping --rule ingress,tcp,22 --rule ingress,icmp --rule egress
    fi
    note "blue: $DEMO_CIDR, router edge to outside, group ssh-and-ping"
}

# name_servers: this machine's that others can ask too, or one that is open to all.
name_servers() {
    local servers
    servers=$(sed --quiet 's/^nameserver *\([0-9.]*\)$/\1/p' /etc/resolv.conf | grep --invert-match '^127\.' | head -n 2) || true
    printf '%s\n' "${servers:-9.9.9.9}"
}

# demo_is_on_blue: a hello of before networks is not.
demo_is_on_blue() {
    edgectl show-vm hello -o json | /usr/bin/env python3 -c '
import json, sys
sys.exit(all(nic["network"] != "blue" for nic in json.load(sys.stdin).get("networks") or []))'
}

# demo_floating_ip: the first that leads to hello, empty without.
demo_floating_ip() {
    edgectl show-vm hello -o json | /usr/bin/env python3 -c '
import json, sys
for address in json.load(sys.stdin).get("floating_ips") or []:
    print(address if isinstance(address, str) else address["floating_ip"])
    break'
}

# demo_address: a floating IP that leads to hello.
demo_address() {
    if ! demo_is_on_blue || ! edgectl show-router edge; then
        note "none: hello is not on the network blue behind the router edge; for another one: edgectl remove-vm hello, and this again"
        return 0
    fi
    if [ -z "$(demo_floating_ip)" ]; then
        if edgectl show-fip hello; then
            # Held since a hello that was removed.
            edgectl associate-fip hello hello
        else
            edgectl create-fip --name hello --router edge --vm hello
        fi
    fi
    note "floating IP $(demo_floating_ip)"
}

# demo_vm: edgectl's own progress line shows on the terminal.
demo_vm() {
    local began state deadline network=()
    began=$(now_ms)
    if ! edgectl show-vm hello >/dev/null 2>&1; then
        printf '  %-10s %s\n' vm "hello boots; the first boot without KVM takes about a minute" >&2
        if has_outside; then network=(--network "blue,sg=ssh-and-ping"); fi
        edgectl create-vm hello --image debian-12 --flavor small --keypair default "${network[@]}" \
            --wait-for guest-agent --timeout "$DEMO_TIMEOUT_S" || return 1
    else
        deadline=$((SECONDS + DEMO_TIMEOUT_S))
        until edgectl show-guest-info hello >/dev/null 2>&1; do
            state=$(edgectl show-vm hello -o json | json_field state)
            case $state in
            stopped | stopping | paused | pausing | deleting)
                printf '  %-10s hello is %s, as asked; start it: edgectl start-vm hello\n' vm "$state" >&2
                return 0
                ;;
            esac
            if [ "$SECONDS" -ge "$deadline" ]; then
                printf 'error: the guest agent of hello does not answer (VM state: %s)\n' "$state" >&2
                return 1
            fi
            sleep 0.5
        done
    fi
    printf '  %-10s %6s s  hello answers\n' vm "$(seconds_since "$began")" >&2
}

explain_demo_failure() {
    printf '\nThe site runs, the VM does not answer. What happened to it:\n' >&2
    edgectl show-vm-events hello >&2 || true
    edgectl show-vm-logs hello 2>/dev/null | tail -n 15 >&2 || true
    die "the demo VM did not come up; the reason stands above (the daemon's log: $(daemon_log_hint)). Then again: deploy/quickstart"
}

show_demo() {
    local address host port key='' ip=''
    printf '\n$ edgectl show-vm hello\n'
    edgectl show-vm hello
    printf '\n$ edgectl show-vm-events hello\n'
    edgectl show-vm-events hello
    address=$(edgectl show-vm hello -o json)
    host=$(json_field ssh host <<<"$address")
    port=$(json_field ssh port <<<"$address")
    if ! own_public_key >/dev/null && [ -s "$(demo_key_file)" ]; then
        key=" -i $(demo_key_file)"
    fi
    if has_outside; then ip=$(demo_floating_ip); fi
    # With an uplink it may be others who reach it, not this machine.
    if [ -n "$ip" ] && [ "$(outside_setting kind)" = host ] && [ "$(json_field state <<<"$address")" = running ]; then
        show_demo_outside "$ip" "$key"
    fi
    printf '\nTry next:\n'
    if [ -n "$ip" ]; then
        printf '  ssh%s debian@%s\n' "$key" "$ip"
        printf '  ping %s\n' "$ip"
    fi
    if [ -n "$port" ]; then
        printf '  ssh%s -p %s debian@%s\n' "$key" "$port" "$host"
    fi
    cat <<'NEXT'
  edgectl show-vm-logs hello --follow    # serial console
  edgectl show-guest-info hello          # what the guest agent says
  edgectl stop-vm hello                  # and start-vm, restart-vm
  edgectl remove-vm hello
NEXT
}

# show_demo_outside ADDRESS KEY_OPTION: as this machine and somebody outside see hello.
show_demo_outside() {
    local command deadline=$((SECONDS + 60))
    until ping -n -q -c 1 -W 1 "$1" >/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || die "hello runs, and its floating IP $1 does not answer; see: edgectl explain floating_ip/$1"
    done
    for command in "ping -n -q -c 3 -i 0.2 $1" "ip netns exec edgestack-outside ping -n -q -c 3 -i 0.2 $1"; do
        printf '\n$ %s\n' "$command"
        $command || die "the floating IP $1 does not answer all of three packets; see: edgectl explain floating_ip/$1"
    done
    # The agent answers before the guest lets anybody in.
    until (exec 3<>"/dev/tcp/$1/22") 2>/dev/null; do
        [ "$SECONDS" -lt "$deadline" ] || die "port 22 of hello's floating IP $1 is closed after 60 s; see: edgectl show-vm-logs hello"
        sleep 1
    done
    printf '\n$ ssh%s debian@%s uptime\n' "$2" "$1"
    # A key with a passphrase opens nothing here.
    # shellcheck disable=SC2086 # The key's option is two words or none.
    ssh -o BatchMode=yes -o ConnectTimeout=30 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
        $2 "debian@$1" uptime </dev/null || printf '(not from here: the key asks for something)\n'
}

show_urls() {
    local url
    url=$(json_field url <"$STATE_DIR/client.json")
    printf '\nAPI    %s\ndocs   %s/docs\nspec   %s/openapi.json\nstop   %s/down\n' "$url" "$url" "$url" "$DEPLOY"
}
