# shellcheck shell=bash
# The demo VM, made through the API as any user would. All that it asks of edgectl stands here.

DEMO_TIMEOUT_S=600

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

# demo_vm: edgectl's own progress line shows on the terminal.
demo_vm() {
    local began state deadline
    began=$(now_ms)
    if ! edgectl show-vm hello >/dev/null 2>&1; then
        printf '  %-10s %s\n' vm "hello boots; the first boot without KVM takes about a minute" >&2
        edgectl create-vm hello --image debian-12 --flavor small --keypair default \
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
    local address host port key=
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
    printf '\nTry next:\n'
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

show_urls() {
    local url
    url=$(json_field url <"$STATE_DIR/client.json")
    printf '\nAPI    %s\ndocs   %s/docs\nspec   %s/openapi.json\nstop   %s/down\n' "$url" "$url" "$url" "$DEPLOY"
}
